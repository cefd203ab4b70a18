//! `kiln system install`: units that systemd takes.

use std::fs;

use crate::harness::{Kiln, tool};

#[test]
fn units_are_written_below_a_folder_and_taken_away_again() {
    let kiln = Kiln::new();
    let to = kiln.scratch("package");
    let folder = to.join("etc/systemd/system");
    let destdir = to.to_str().unwrap();
    let program = env!("CARGO_BIN_EXE_kiln");
    let install = ["system", "install", "--destdir", destdir, "--group", "daemon", "--program", program];
    kiln.ok(&[&install[..], &["--", "--shutdown-timeout", "5m", "--log-format", "json"]].concat());
    let service = fs::read_to_string(folder.join("kiln.service")).unwrap();
    let command = format!("ExecStart={program} serve --addr fd:// --shutdown-timeout 5m --log-format json\n");
    assert!(service.contains(&command), "{service}");
    assert!(service.contains("KillMode=process\n") && service.contains("TimeoutStopSec=330\n"), "{service}");
    let socket = fs::read_to_string(folder.join("kiln.socket")).unwrap();
    assert!(
        socket.contains("ListenStream=/run/kiln.sock\n") && socket.contains("SocketGroup=daemon\n"),
        "{socket}"
    );
    let (service, socket) = (folder.join("kiln.service"), folder.join("kiln.socket"));
    // It says nothing of units in which nothing is wrong.
    let units = [service.to_str().unwrap(), socket.to_str().unwrap()];
    let said =
        tool("systemd-analyze", &[&["verify", "--man=no", "--recursive-errors=no"][..], &units].concat());
    assert_eq!(said, "");
    let printed = kiln.ok(&["system", "install", "--print"]);
    assert!(printed.contains("# /etc/systemd/system/kiln.socket\n"), "{printed}");

    kiln.ok(&install);
    kiln.ok(&["system", "uninstall", "--destdir", destdir]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    assert_eq!(
        kiln.ok(&["system", "uninstall", "--destdir", destdir]),
        "",
        "there is nothing left to remove"
    );

    fs::write(folder.join("kiln.service"), "[Service]\n").unwrap();
    for command in [&install[..], &["system", "uninstall", "--destdir", destdir]] {
        let said = kiln.fails(1, command);
        assert!(said.contains("was not written by kiln"), "{said}");
    }
    assert!(!folder.join("kiln.socket").exists(), "all of it is checked before something is written");
}
