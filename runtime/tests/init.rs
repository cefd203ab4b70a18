//! `--init`. This program stands in for kiln: started as `… init -- command…` it is the reaper, and
//! otherwise it runs the tests, without the usual harness.
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
    for (name, test) in [
        ("the reaper is process 1 and passes the code on", codes as fn()),
        ("the reaper passes signals on", signals),
        ("the reaper reaps orphans", orphans),
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
