//! The mistakes that people make most, and the whole of what kiln says to each: `testdata/mistakes/<case>/`.
//!
//! A case is a context. `command` has the lines to run in it, `build .` where there is none; `expect.txt` is what the
//! last of them printed, paths, ids and times made the same everywhere. `{{registry}}` in the Dockerfile is the address
//! of the test's registry. With UPDATE_EXPECT=1 the texts are written; read them as the person who made the mistake.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::harness::{Kiln, registry};

/// Cases that there are at least.
const FEWEST: usize = 40;

#[test]
fn every_mistake_is_answered_as_expected() {
    let kiln = Kiln::new();
    kiln.ok(&["pull", "-q", "busybox"]);
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= FEWEST, "only {} cases", cases.len());
    for case in cases {
        let said = answer(&kiln, &case);
        let expect = case.join("expect.txt");
        if update {
            fs::write(&expect, &said).unwrap();
        } else if fs::read_to_string(&expect).unwrap_or_default() != said {
            wrong.push(format!("=== {}\n{said}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "run with UPDATE_EXPECT=1 and read the difference:\n{}", wrong.join("\n"));
}

fn cases() -> Vec<PathBuf> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/mistakes");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| case.is_dir());
    cases.sort();
    cases
}

/// Runs a case's commands in a copy of it.
fn answer(kiln: &Kiln, case: &Path) -> String {
    let name = case.file_name().unwrap().to_str().unwrap();
    let context = kiln.scratch(name);
    copy(case, &context);
    let commands = fs::read_to_string(case.join("command")).unwrap_or_else(|_| "build .".to_owned());
    let run = |command: &str| {
        let args: Vec<&str> = command.split(' ').collect();
        kiln.command(&args).current_dir(&context).output().unwrap()
    };
    let answers: Vec<(&str, Output)> = commands.trim().lines().map(|line| (line, run(line))).collect();
    let (command, last) = answers.last().unwrap();
    format!("$ kiln {command}\n{}", shown(last, &context))
}

/// Copies a case's files, but for what is about the case.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (name, target) = (entry.file_name(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if name != "command" && name != "expect.txt" {
            let bytes = fs::read(entry.path()).unwrap();
            let text = String::from_utf8(bytes.clone()).map(|text| text.replace("{{registry}}", &registry()));
            fs::write(target, text.map_or(bytes, String::into_bytes)).unwrap();
        }
    }
}

/// What a command printed, without what differs from one run to the next.
fn shown(output: &Output, context: &Path) -> String {
    let mut out = String::new();
    for (title, bytes) in [("", &output.stderr), ("--- standard output\n", &output.stdout)] {
        let text = String::from_utf8_lossy(bytes).replace(context.to_str().unwrap(), "/context");
        let text = text.replace(&registry(), "registry.test");
        let lines: Vec<String> = text.lines().filter(|line| is_said(line)).map(steady).collect();
        if !lines.is_empty() {
            out.push_str(&format!("{title}{}\n", lines.join("\n")));
        }
    }
    let code = output.status.code().map_or("none".to_owned(), |code| code.to_string());
    format!("{out}--- exit code {code}\n")
}

/// Whether a line is the same each time: of progress, in which steps run beside each other, what steps say.
fn is_said(line: &str) -> bool {
    let Some((_, rest)) = progress(line) else { return !line.is_empty() };
    rest.starts_with("ERROR: ") || rest.starts_with("WARN: ") || logged(rest).is_some()
}

/// `#4 …` in its parts.
fn progress(line: &str) -> Option<(&str, &str)> {
    let (number, rest) = line.strip_prefix('#')?.split_once(' ')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some((number, rest))
}

/// What a step wrote, after the time.
fn logged(rest: &str) -> Option<&str> {
    let (time, text) = rest.split_once(' ')?;
    (time.contains('.') && time.parse::<f64>().is_ok()).then_some(text)
}

/// A line without its step's number, times and digests.
fn steady(line: &str) -> String {
    let line = match progress(line) {
        Some((_, rest)) => format!("# {}", logged(rest).unwrap_or(rest)),
        None => line.to_owned(),
    };
    line.split(' ').map(without_digest).collect::<Vec<_>>().join(" ")
}

/// `sha256:` and its digits shortened.
fn without_digest(word: &str) -> String {
    match word.split_once("sha256:") {
        Some((head, tail)) => {
            let rest = tail.trim_start_matches(|c: char| c.is_ascii_hexdigit());
            if tail.len() - rest.len() == 64 { format!("{head}sha256:…{rest}") } else { word.to_owned() }
        }
        None => word.to_owned(),
    }
}
