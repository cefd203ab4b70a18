//! `kiln cp` and the daemon's archives: docker's rules, and containers that try to lead copies elsewhere.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::harness::{Kiln, show, text};

/// A container that runs `script`, or one that is only made.
fn container(kiln: &Kiln, name: &str, script: Option<&str>, more: &[&str]) {
    kiln.ok(&["pull", "-q", "busybox"]);
    let what = if script.is_some() { &["run", "-d"][..] } else { &["create"][..] };
    let mut args = [what, &["--name", name, "--network", "none"], more, &["busybox"]].concat();
    args.extend(["sh", "-c", script.unwrap_or("sleep 1000")]);
    kiln.ok(&args);
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_exists_and_how_paths_end_decides_where_a_copy_goes() {
    let kiln = Kiln::new();
    container(
        &kiln,
        "box",
        Some("mkdir -p /old /tree/in; echo x > /old/f; echo y > /tree/in/g; sleep 1000"),
        &[],
    );
    let at = kiln.context("host", &[("dir/a", "A"), ("dir/sub/b", "B"), ("one", "1")]);
    let host = |name: &str| path(&at.join(name)).to_owned();
    let sh = |script: &str| kiln.ok(&["exec", "box", "sh", "-c", script]);
    crate::harness::wait_for("the tree", || {
        kiln.output(&["exec", "box", "test", "-e", "/tree/in/g"]).status.success()
    });
    for (source, target, proof) in [
        ("one", "/new", "cat /new"),
        ("one", "/old", "cat /old/one"),
        ("one", "/old/f", "cat /old/f"),
        ("one", "tmp/", "cat /tmp/one"),
        ("dir", "/made", "test $(cat /made/a /made/sub/b) = AB && echo 1"),
        ("dir", "/old", "test $(cat /old/dir/sub/b) = B && echo 1"),
        ("dir/.", "/old", "test $(cat /old/a /old/sub/b) = AB && echo 1"),
    ] {
        kiln.ok(&["cp", "-q", &host(source), &format!("box:{target}")]);
        assert_eq!(sh(proof), "1", "{source} to {target}");
    }
    for (source, target, why) in [
        ("one", "/none/", "must exist"),
        ("one", "/none/x", "no directory `/none`"),
        ("dir", "/new", "cannot copy a directory to the file"),
        ("one", "/new/", "not a directory"),
        ("none", "/new", "there is no"),
    ] {
        let said = kiln.fails(1, &["cp", &host(source), &format!("box:{target}")]);
        assert!(said.contains(why), "{source} to {target}: {said}");
    }
    // A directory takes the place of no file, and no file that of a directory.
    sh("mkdir -p /clash/dir/a");
    assert!(kiln.fails(1, &["cp", &host("dir"), "box:/clash"]).contains("cannot overwrite directory"));
    let out = kiln.scratch("out");
    let to = |name: &str| path(&out.join(name)).to_owned();
    kiln.ok(&["cp", "box:/tree", path(&out)]);
    kiln.ok(&["cp", "box:/tree", &to("fresh")]);
    kiln.ok(&["cp", "box:tree/.", &to("contents")]);
    kiln.ok(&["cp", "box:/tree/in/g", &to("named")]);
    for file in ["tree/in/g", "fresh/in/g", "contents/in/g", "named"] {
        assert_eq!(fs::read_to_string(out.join(file)).unwrap(), "y\n", "{file}");
    }
    assert!(kiln.fails(1, &["cp", "box:/none", path(&out)]).contains("there is no `/none`"));
    assert!(kiln.fails(1, &["cp", &host("one"), &to("x")]).contains("in a container"));
    assert!(kiln.fails(1, &["cp", "box:/x", "box:/y"]).contains("between containers"));
}

#[test]
fn links_owners_modes_and_streams_are_as_with_docker() {
    let kiln = Kiln::new();
    let script = "mkdir /d; echo x > /d/f; chown 7:8 /d/f; chmod 4711 /d/f; ln -s /d/f /link; ln -s d /to; touch /ok; sleep 1000";
    container(&kiln, "box", Some(script), &["-u", "0"]);
    crate::harness::wait_for("the files", || {
        kiln.output(&["exec", "box", "test", "-e", "/ok"]).status.success()
    });
    let out = kiln.scratch("out");
    let to = |name: &str| path(&out.join(name)).to_owned();
    kiln.ok(&["cp", "box:/link", &to("as-link")]);
    assert_eq!(fs::read_link(out.join("as-link")).unwrap(), Path::new("/d/f"));
    kiln.ok(&["cp", "-L", "box:/link", &to("followed")]);
    kiln.ok(&["cp", "-a", "box:/d/f", &to("owned")]);
    kiln.ok(&["cp", "box:/to/", &to("dir")]);
    let meta = |name: &str| fs::symlink_metadata(out.join(name)).unwrap();
    assert!(meta("followed").is_file() && meta("dir").is_dir());
    assert_eq!(
        (meta("followed").uid(), meta("followed").mode() & 0o7777),
        (0, 0o711),
        "nobody else's file becomes set-user-id root"
    );
    assert_eq!((meta("owned").uid(), meta("owned").gid(), meta("owned").mode() & 0o7777), (7, 8, 0o4711));
    let tar = kiln.output(&["cp", "box:/d", "-"]);
    assert!(tar.status.success() && tar.stdout.starts_with(b"d/\0"), "{}", text(&tar.stderr));
    kiln.ok(&["exec", "box", "mkdir", "/again"]);
    let taken = kiln.with_input(&["cp", "-", "box:/again"], &tar.stdout);
    assert!(taken.status.success(), "{}", show(&taken));
    assert_eq!(kiln.ok(&["exec", "box", "stat", "-c", "%u:%g %a", "/again/d/f"]), "7:8 4711");
}

#[test]
fn a_container_that_does_not_run_and_its_mounts_are_seen() {
    let kiln = Kiln::new();
    let bound = kiln.scratch("bound");
    let bind = format!("{}:/deep/bound", path(&bound));
    let fixed = kiln.context("fixed", &[("f", "fixed")]);
    let read_only = format!("{}:/fixed:ro", path(&fixed));
    container(&kiln, "box", None, &["-v", "vol:/vol", "-v", &bind, "-v", &read_only]);
    let at = kiln.context("host", &[("f", "F")]);
    let file = at.join("f");
    for target in ["box:/vol", "box:/deep/bound", "box:/etc/f"] {
        kiln.ok(&["cp", path(&file), target]);
    }
    assert_eq!(fs::read_to_string(bound.join("f")).unwrap(), "F");
    assert!(kiln.fails(1, &["cp", path(&file), "box:/fixed/g"]).contains("marked read-only"));
    kiln.ok(&["start", "box"]);
    assert_eq!(kiln.ok(&["exec", "box", "cat", "/vol/f", "/deep/bound/f", "/etc/f", "/fixed/f"]), "FFFfixed");
    kiln.ok(&["cp", path(&file), "box:/vol/g"]);
    assert_eq!(kiln.ok(&["exec", "box", "cat", "/vol/g"]), "F");
    // A container's own memory and what is written for it.
    kiln.ok(&["cp", "box:/etc/hostname", path(&at.join("hostname"))]);
    assert_eq!(
        fs::read_to_string(at.join("hostname")).unwrap().trim(),
        kiln.ok(&["exec", "box", "hostname"])
    );
    assert!(kiln.fails(1, &["cp", path(&file), "box:/fixed/g"]).contains("marked read-only"));
    kiln.ok(&["stop", "-t", "0", "box"]);
    kiln.ok(&["cp", "box:/vol/g", path(&at.join("back"))]);
    assert!(at.join("back").exists());
    container(&kiln, "frozen", None, &["--read-only"]);
    assert!(kiln.fails(1, &["cp", path(&file), "frozen:/f"]).contains("rootfs is marked read-only"));
}

/// CVE-2018-15664, CVE-2021-41089: links that lead to this machine's files are walked beneath the container's root.
#[test]
fn links_of_a_container_lead_nowhere_else() {
    let kiln = Kiln::new();
    let canary = kiln.context("canary", &[("secret", "outside")]);
    let (canary_dir, name) = (path(&canary).to_owned(), path(&canary).trim_start_matches('/').to_owned());
    fs::set_permissions(&canary, fs::Permissions::from_mode(0o755)).unwrap();
    let script = format!(
        "ln -s {canary_dir} /abs; ln -s ../../../../../../../{name} /up; ln -s /proc/1/root /magic; \
         mkdir /real; echo inside > /real/secret; ln -s {canary_dir} /link; touch /ok; \
         while :; do mv -T /real /swap; mv -T /link /real; mv -T /real /link; mv -T /swap /real; done"
    );
    container(&kiln, "box", Some(&script), &["-v", "vol:/vol"]);
    crate::harness::wait_for("the links", || {
        kiln.output(&["exec", "box", "test", "-e", "/ok"]).status.success()
    });
    let out = kiln.scratch("out");
    let evil = kiln.context("evil", &[("secret", "overwritten")]);
    let secret = evil.join("secret");
    for from in ["/abs/secret", "/up/secret", "/abs/", "/magic/etc/passwd"] {
        kiln.fails(1, &["cp", &format!("box:{from}"), path(&out.join("stolen"))]);
    }
    for to in ["/abs/secret", "/up/", "/up/secret", "/abs/x/y"] {
        // It is refused, or goes into the container.
        kiln.output(&["cp", path(&secret), &format!("box:{to}")]);
    }
    // While the container swaps a directory for a link.
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        kiln.output(&["cp", path(&secret), "box:/real/secret"]);
        kiln.output(&["cp", "box:/real/secret", path(&out.join("raced"))]);
        if let Ok(read) = fs::read_to_string(out.join("raced")) {
            assert!(read != "outside", "a file of this machine was read");
        }
    }
    assert_eq!(fs::read_to_string(canary.join("secret")).unwrap(), "outside");
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 1, "nothing was put there");
    assert_eq!(fs::metadata(&canary).unwrap().mode() & 0o7777, 0o755);
    assert!(!out.join("stolen").exists());
}

/// CVE-2019-14271, CVE-2014-9357: what a container has by the names of helpers and libraries is not run.
#[test]
fn nothing_of_a_container_is_run() {
    let kiln = Kiln::new();
    let marker = kiln.scratch("marker").join("ran");
    let script = format!("#!/bin/sh\ntouch {}\n", path(&marker));
    let names = ["usr/bin/xz", "usr/bin/unpigz", "usr/bin/gzip", "bin/tar", "lib/libnss_files.so.2"];
    let files: Vec<_> = names.iter().map(|name| (*name, script.as_str())).collect();
    let tree = kiln.context("tree", &files);
    for name in names {
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    container(&kiln, "box", None, &["-u", "nobody"]);
    kiln.ok(&["cp", &format!("{}/.", path(&tree)), "box:/opt"]);
    let packed = std::process::Command::new("sh")
        .args(["-c", "tar c usr | xz -c"])
        .current_dir(&tree)
        .output()
        .unwrap();
    let taken = kiln.with_input(&["cp", "-a", "-", "box:/tmp"], &packed.stdout);
    assert!(taken.status.success(), "{}", show(&taken));
    kiln.ok(&["cp", "box:/tmp/usr/bin/xz", path(&tree.join("back"))]);
    assert_eq!(fs::read_to_string(tree.join("back")).unwrap(), script);
    assert!(!marker.exists());
}

#[test]
fn docker_cp_works_both_ways() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    container(&kiln, "box", Some("mkdir /d; echo x > /d/f; ln -s /d /link; touch /ok; sleep 1000"), &[]);
    crate::harness::wait_for("the files", || {
        kiln.output(&["exec", "box", "test", "-e", "/ok"]).status.success()
    });
    let at = kiln.context("host", &[("dir/a", "A"), ("one", "1")]);
    symlink("one", at.join("to-one")).unwrap();
    let host = |name: &str| path(&at.join(name)).to_owned();
    for (source, target, file) in [
        ("one", "/new", "/new"),
        ("one", "/link", "/d/one"),
        ("dir", "/d", "/d/dir/a"),
        ("dir/.", "/d", "/d/a"),
        ("dir", "/made", "/made/a"),
    ] {
        daemon.ok(&["cp", &host(source), &format!("box:{target}")]);
        kiln.ok(&["exec", "box", "test", "-s", file]);
    }
    for (source, target, file) in [
        ("/d", "whole", "whole/f"),
        ("/d/.", "dir", "dir/f"),
        ("/d/f", "f", "f"),
        ("/link/", "through", "through/f"),
    ] {
        daemon.ok(&["cp", &format!("box:{source}"), &host(target)]);
        assert_eq!(fs::read_to_string(at.join(file)).unwrap(), "x\n", "{source}");
    }
    daemon.ok(&["cp", "box:/link", &host("a-link")]);
    assert!(at.join("a-link").is_symlink());
    daemon.ok(&["cp", "-L", "box:/link", &host("no-link")]);
    assert!(at.join("no-link/f").is_file());
    assert!(
        daemon.fails(1, &["cp", "box:/none", "."]).contains("Could not find the file /none in container box")
    );
    let head = daemon.ask("HEAD /v1.41/containers/box/archive?path=/d/f", "", "");
    assert!(
        head.starts_with("HTTP/1.1 200") && head.to_lowercase().contains("x-docker-container-path-stat: ey")
    );
    let bad = daemon.ask("GET /v1.41/containers/box/archive", "", "");
    assert!(bad.starts_with("HTTP/1.1 400"), "{bad}");
    let bad = daemon.ask("PUT /v1.41/containers/box/archive?path=/d/f", "", "");
    assert!(bad.starts_with("HTTP/1.1 400"), "{bad}");
}
