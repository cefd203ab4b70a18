//! Time and memory of `parse` against the size of its input, by shape: `cargo xtask parse-bench`.

#![allow(clippy::print_stdout)]

use std::fs;
use std::time::{Duration, Instant};

use kiln_parser::{SourceFile, parse};

/// Sizes in KiB; linear time means that each step takes four times as long.
const SIZES: [usize; 3] = [64, 256, 1024];
/// Runs of each, of which the fastest counts.
const RUNS: usize = 5;

/// What is repeated, and what stands around it.
const SHAPES: [(&str, &str, &str, &str); 20] = [
    (
        "usual",
        "FROM a\n",
        "RUN --mount=type=cache,target=/c echo \"$A\" && make \\\n  -j 4\nCOPY a b c /d/\n",
        "",
    ),
    ("ENV lines", "FROM a\n", "ENV a=b\n", ""),
    ("words of ENV", "FROM a\nENV", " a=b", "\n"),
    ("words of ARG", "ARG", " a", "\nFROM a\n"),
    ("words of LABEL, quoted", "FROM a\nLABEL", " a='b c'", "\n"),
    ("words of VOLUME", "FROM a\nVOLUME", " a", "\n"),
    ("words of COPY", "FROM a\nCOPY", " a", " /b\n"),
    ("flags", "FROM a\nCOPY", " --exclude=x", " a b\n"),
    ("mounts", "FROM a\nRUN", " --mount=target=/a", " b\n"),
    ("one word", "FROM a\nRUN ", "a", "\n"),
    ("JSON", "FROM a\nCMD [\"a\"", ",\"a\"", "]\n"),
    ("brackets", "FROM a\nCMD ", "[", "\n"),
    ("quotes", "FROM a\nENV a=", "\"", "\n"),
    ("continuations", "FROM a\nRUN a", "\\\n", "\n"),
    ("comments", "", "#a\n", "FROM a\n"),
    ("empty lines", "", "\n", "FROM a\n"),
    ("one heredoc", "FROM a\nRUN <<E\n", "echo a\n", "E\n"),
    ("open heredocs", "FROM a\nRUN", " <<a", "\n"),
    ("stages", "", "FROM a AS b\n", ""),
    ("unknown instructions", "", "x\n", ""),
];

fn main() {
    println!("{:<24}{:>12}{:>12}{:>12}", "", "64 KiB", "256 KiB", "1 MiB");
    for (name, head, body, tail) in SHAPES {
        let mut line = format!("{name:<24}");
        for size in SIZES {
            let text = format!("{head}{}{tail}", body.repeat((size << 10) / body.len()));
            let time = measure(&SourceFile::new("Dockerfile", text));
            line.push_str(&format!("{:>9.2} ms", time.as_secs_f64() * 1e3));
        }
        println!("{line}");
    }
    println!("the process never had more than {} MiB", peak() >> 20);
}

/// The fastest run.
fn measure(source: &SourceFile) -> Duration {
    let run = |_| {
        let start = Instant::now();
        let parsed = parse(source);
        let time = start.elapsed();
        drop(parsed);
        time
    };
    (0..RUNS).map(run).min().unwrap_or_default()
}

/// The most memory that this process had, in bytes.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok()).unwrap_or(0) << 10
}
