//! The reaper that `--init` puts in front of a container's command.

use std::process::Command;

/// Runs `args` as a child, reaps every orphan, passes signals on, and returns the exit code.
///
/// The command line calls it for its hidden `init -- command…` subcommand; in a container it is process 1.
pub fn main(args: &[String]) -> i32 {
    let Some((program, rest)) = args.split_first() else { return 125 };
    let Ok(signals) = kiln_sys::process::SignalInbox::new() else { return 125 };
    let child = signals.spawn(Command::new(program).args(rest));
    let child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return 127,
        Err(_) => return 126,
    };
    serve(&signals, child.id())
}

/// Until the child ends: reap what ended, pass the rest on.
fn serve(signals: &kiln_sys::process::SignalInbox, child: u32) -> i32 {
    loop {
        match signals.next() {
            Ok(kiln_sys::process::SIGCHLD) => {
                if let Some(code) = reap(child) {
                    return code;
                }
            }
            // A child that has just ended needs no signal any more.
            Ok(signal) => drop(kiln_sys::process::kill(child, signal)),
            Err(_) => return 125,
        }
    }
}

/// Reaps every ended process; the child's code when it is among them.
fn reap(child: u32) -> Option<i32> {
    while let Ok(Some((pid, status))) = kiln_sys::process::try_reap_any() {
        if pid == child {
            return Some(status.code());
        }
    }
    None
}
