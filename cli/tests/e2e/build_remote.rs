//! `ADD` of what is elsewhere.

use std::fs;
use std::path::Path;

use kiln_test_support::web::{Reply, Web};

use crate::harness::{Kiln, tool};

/// A repository `name` beneath `dir` with one commit of `files`.
pub(crate) fn repository(dir: &Path, name: &str, files: &[(&str, &str)]) -> String {
    let dir = dir.join(name);
    for (path, text) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let git = |args: &[&str]| {
        let own = ["-C", dir.to_str().unwrap(), "-c", "user.name=t", "-c", "user.email=t@example.org"];
        tool("git", &[&own, args].concat())
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message", "as the test wants it"]);
    git(&["rev-parse", "HEAD"])
}

#[test]
fn a_download_is_added_and_an_unchanged_one_is_cached() {
    let kiln = Kiln::new();
    let archive = kiln.context("archive", &[("inner", "unpacked\n")]);
    let tar = kiln.scratch("served").join("a.tar.gz");
    tool("tar", &["-C", archive.to_str().unwrap(), "-czf", tar.to_str().unwrap(), "inner"]);
    let bytes = fs::read(&tar).unwrap();
    let web = Web::start(move |asked| match (asked.path.as_str(), asked.header("if-none-match")) {
        ("/a.tar.gz", _) => Reply::body(bytes.clone()),
        (_, Some("\"1\"")) => Reply::status(304),
        _ => Reply::body("text\n")
            .header("etag", "\"1\"")
            .header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    });
    let origin = web.origin();
    let digest = tool("sh", &["-c", "printf 'text\\n' | sha256sum | cut -d' ' -f1"]);
    let dockerfile = format!(
        "FROM busybox\nADD {origin}/file /plain/\nADD --chmod=755 --chown=33:34 --checksum=sha256:{digest} {origin}/file /mine\n\
         ADD {origin}/a.tar.gz /whole/\nADD --unpack=true {origin}/a.tar.gz /unpacked/\n"
    );
    let context = kiln.context("c", &[("Dockerfile", &dockerfile)]);
    let log = kiln.build("remote", &context, &[]);
    assert!(log.contains(&format!(" downloading {origin}/file 5B / 5B ")), "{log}");
    let script = "stat -c '%a %u:%g %Y' /plain/file /mine; cat /plain/file /unpacked/inner; ls /whole";
    let expected = "600 0:0 784111777\n755 33:34 784111777\ntext\nunpacked\na.tar.gz";
    assert_eq!(kiln.sh("remote", script), expected);
    let log = kiln.build("remote", &context, &[]);
    assert_eq!(log.matches("CACHED").count(), 4, "{log}");
    let wrong = dockerfile.replace(&digest, &"0".repeat(64));
    let context = kiln.context("wrong", &[("Dockerfile", &wrong)]);
    let error = kiln.fails(1, &["build", "--progress", "plain", context.to_str().unwrap()]);
    assert!(error.contains("and not `sha256:0000") && error.contains(">>> ADD --chmod=755"), "{error}");
}

#[test]
fn a_repository_is_added_as_asked_and_its_password_is_nowhere() {
    let kiln = Kiln::new();
    let served = kiln.scratch("served");
    let commit = repository(&served, "r.git", &[("file", "from git\n"), ("sub/inner", "inner\n")]);
    let web = Web::git(&served);
    let origin = web.origin();
    let with_password = origin.replace("://", "://me:hunter2@");
    let dockerfile = format!(
        "FROM busybox\nADD {with_password}/r.git /all\nADD {origin}/r.git?subdir=sub&branch=main /sub\n\
         ADD --keep-git-dir --checksum={} {origin}/r.git#main /kept\n",
        &commit[..12]
    );
    let context = kiln.context("c", &[("Dockerfile", &dockerfile)]);
    let log = kiln.build("remote", &context, &["--no-cache"]);
    let script =
        "cat /all/file /sub/inner /kept/file; ls -d /all/.git /kept/.git 2>/dev/null; cat /kept/.git/HEAD";
    assert_eq!(kiln.sh("remote", script), format!("from git\ninner\nfrom git\n/kept/.git\n{commit}"));
    let told = [
        log,
        kiln.ok(&["history", "--no-trunc", "remote"]),
        kiln.ok(&["debug", "graph", context.to_str().unwrap()]),
    ];
    assert!(told.iter().all(|text| !text.contains("hunter2")), "{told:?}");
    assert!(told[1].contains("ADD http://xxxxx@127.0.0.1"), "{}", told[1]);
    let bad = dockerfile.replace(&commit[..12], "ffffffffffff");
    let context = kiln.context("bad", &[("Dockerfile", &bad)]);
    let error = kiln.fails(1, &["build", "--progress", "plain", context.to_str().unwrap()]);
    assert!(error.contains(&format!("the commit is `{commit}`")) && !error.contains("hunter2"), "{error}");
}
