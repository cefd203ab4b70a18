//! Processes of kiln itself, for which this program stands in: started as `… init -- command…` it is the
//! reaper, as `… hang` a kiln that is killed while its container runs, and otherwise it runs the tests,
//! without the usual harness.
#![allow(clippy::print_stdout)]

mod common;

use common::{Image, captured, output, read};
use kiln_runtime::start;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, subcommand, dashes, command @ ..] = args.as_slice()
        && subcommand == "init"
        && dashes == "--"
    {
        std::process::exit(kiln_runtime::init::main(command));
    }
    if args.get(1).is_some_and(|arg| arg == "hang") {
        hang();
    }
    for (name, test) in [
        ("the reaper is process 1 and passes the code on", codes as fn()),
        ("the reaper passes signals on", signals),
        ("the reaper reaps orphans", orphans),
        ("a container dies with kiln", death),
    ] {
        test();
        println!("test {name} ... ok");
    }
}

fn codes() {
    // The image has none of the libraries that this program is linked with.
    let image = Image::new();
    let run = |args: &[&str]| {
        let mut spec = image.spec(args);
        spec.init = true;
        output(spec).unwrap()
    };
    let (text, status) = run(&["sh", "-c", "cat /proc/1/cmdline; echo; echo $$; exit 5"]);
    assert!(text.contains("init\0--\0sh\0"), "{text:?}");
    assert!(text.ends_with("\n2\n"), "{text:?}");
    assert_eq!(status.code, 5);
    assert_eq!(run(&["sh", "-c", "kill -9 $$"]).1.code, 137);
    let (text, _) = run(&["sh", "-c", "echo x > /proc/1/exe; echo x > /dev/.kiln-init/kiln"]);
    assert_eq!(text.matches("can't create").count(), 2, "{text}");
}

fn signals() {
    let image = Image::new();
    let mut spec = image.spec(&["sh", "-c", "trap 'exit 33' TERM; echo ready; while :; do sleep 1; done"]);
    spec.init = true;
    let (stdio, file) = captured();
    let mut running = start(spec, stdio).unwrap();
    while read(file.try_clone().unwrap()).is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.kill(15).unwrap();
    assert_eq!(running.wait().unwrap().code, 33);
}

fn orphans() {
    let image = Image::new();
    let mut spec = image.spec(&["sh", "-c", "sh -c 'sleep 0.1 &'; sleep 0.5; busybox ps -o pid,stat,comm"]);
    spec.init = true;
    let (text, _) = output(spec).unwrap();
    assert!(!text.contains('Z') && !text.contains("sleep"), "{text}");
}

/// Starts a container, says its process id, and waits to be killed.
fn hang() {
    let image = Image::new();
    let mut spec = image.spec(&["sleep", "1000"]);
    spec.cgroup_parent = String::new();
    let mut running = start(spec, kiln_runtime::Stdio::Null).unwrap();
    println!("{} {}", running.pid(), image.dir.path().display());
    let _ = running.wait();
}

fn death() {
    let mut kiln = std::process::Command::new("/proc/self/exe");
    let mut kiln = kiln.arg("hang").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(kiln.stdout.take().unwrap()), &mut line)
        .unwrap();
    let (pid, folder) = line.trim().split_once(' ').unwrap();
    let process = std::path::Path::new("/proc").join(pid);
    let alive = || std::fs::read_to_string(process.join("stat")).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(alive());
    kiln.kill().unwrap();
    kiln.wait().unwrap();
    let begun = std::time::Instant::now();
    while alive() {
        assert!(begun.elapsed().as_secs() < 5, "the container outlived kiln");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::fs::remove_dir_all(folder).unwrap();
}
