//! The program in the containers of the tests: it shows what it finds there, or is a frontend.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "tests hear it there")]

mod frontend;

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["cat"] => drop(io::copy(&mut io::stdin(), &mut io::stdout()).unwrap()),
        ["say", text] => println!("{text}"),
        ["complain", text] => eprintln!("{text}"),
        ["exit", code] => return ExitCode::from(code.parse::<u8>().unwrap()),
        ["read", path] => io::stdout().write_all(&std::fs::read(path).unwrap()).unwrap(),
        ["write", path, text] => std::fs::write(path, text).unwrap(),
        ["sleep", ..] => loop {
            std::thread::park();
        },
        ["show"] => show(),
        ["terminal"] => terminal(),
        ["frontend"] => return frontend::main(),
        _ => panic!("what is {words:?}?"),
    }
    ExitCode::SUCCESS
}

/// What a process is given.
fn show() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    let number = |key: &str| of(key).split_whitespace().next().unwrap_or_default().to_owned();
    println!("user {} {}", number("Uid:"), number("Gid:"));
    println!("capabilities {}", of("CapEff:").trim());
    println!("directory {}", std::env::current_dir().unwrap().display());
    println!("host {}", std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    print!("{}", std::fs::read_to_string("/etc/hosts").unwrap_or_default());
    let mut devices: Vec<_> =
        std::fs::read_dir("/sys/class/net").map(|found| found.flatten().collect()).unwrap_or_default();
    devices.sort_by_key(std::fs::DirEntry::file_name);
    devices.iter().for_each(|device| println!("network {}", device.file_name().display()));
    let all: BTreeMap<_, _> = std::env::vars().collect();
    all.iter().for_each(|(key, value)| println!("{key}={value}"));
}

/// The size of the terminal, for every line.
fn terminal() {
    println!("terminal {}", io::stdout().is_terminal());
    for line in io::stdin().lock().lines() {
        let size = rustix::termios::tcgetwinsize(io::stdout()).unwrap();
        println!("{} {}x{}", line.unwrap(), size.ws_row, size.ws_col);
    }
}
