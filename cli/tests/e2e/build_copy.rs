//! `COPY` and `ADD`: what lands where, whose it is, what is remembered, and what is refused.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use crate::harness::{Kiln, tool};

/// Whether a step of plain progress was taken from the cache.
#[track_caller]
fn is_cached(progress: &str, step: &str) -> bool {
    let line = progress.lines().find(|line| line.contains(step)).unwrap_or_else(|| panic!("{progress}"));
    let number = line.split(' ').next().unwrap();
    progress.lines().any(|line| line == format!("{number} CACHED"))
}

#[test]
fn a_linked_copy_is_kept_when_what_lies_below_it_changes() {
    let kiln = Kiln::new();
    let dockerfile = "\
FROM busybox
COPY base /base
RUN cat /base > /from-base
COPY --link --chmod=u=rwX,go= --chown=33:34 app /srv/app
RUN cat /from-base /srv/app/file > /seen
";
    let files = [("Dockerfile", dockerfile), ("base", "one\n"), ("app/file", "linked\n")];
    let context = kiln.context("c", &files);
    kiln.build("app", &context, &[]);
    let script = "cat /seen; stat -c '%u:%g %a' /srv/app /srv/app/file";
    assert_eq!(kiln.sh("app", script), "one\nlinked\n33:34 755\n33:34 600");

    fs::write(context.join("base"), "two\n").unwrap();
    let second = kiln.build("app", &context, &[]);
    assert!(is_cached(&second, "] COPY --link"), "{second}");
    assert!(!is_cached(&second, "] RUN cat /base"), "{second}");
    assert_eq!(kiln.sh("app", "cat /seen"), "two\nlinked");
    let created_by = kiln.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "app"]);
    assert!(
        created_by.contains("COPY --chown=33:34 --chmod=u=rwX,go= app /srv/app # buildkit"),
        "{created_by}"
    );
}

#[test]
fn a_linked_copy_is_all_there_is_on_a_base_that_nobody_reads() {
    let kiln = Kiln::new();
    let files = [("Dockerfile", "FROM busybox\nCOPY --link file /deep/file\n"), ("file", "linked\n")];
    let context = kiln.context("c", &files);
    kiln.build("app", &context, &[]);
    let id = kiln.inspect("app", "{{.Id}}");
    assert_eq!(kiln.sh("app", "cat /deep/file; ls /bin/sh"), "linked\n/bin/sh");
    kiln.build("app", &context, &[]);
    assert_eq!(kiln.inspect("app", "{{.Id}}"), id, "the same image again");
    kiln.ok(&["system", "prune", "--force"]);
    assert_eq!(kiln.sh("app", "cat /deep/file"), "linked");
    let out = kiln.scratch("out").join("app.tar");
    kiln.ok(&["save", "-o", out.to_str().unwrap(), "app"]);
    assert!(tool("tar", &["-tf", out.to_str().unwrap()]).contains("manifest.json"));
}

#[test]
fn parents_exclusions_and_owners() {
    let kiln = Kiln::new();
    let dockerfile = "\
FROM busybox AS made
RUN mkdir -p /out/sub && touch /out/file /out/sub/inner && chown -R 100:200 /out
FROM busybox
COPY --parents x/./**/*.txt /parents/
COPY --exclude=*.md --exclude=sub tree /excluded
COPY --exclude=*.txt home* /named/
COPY --from=made /out /kept
COPY --from=made --chown=5:6 /out /owned
COPY x/y/a.txt x/b.txt /kept
";
    let files = [
        ("Dockerfile", dockerfile),
        ("x/y/a.txt", "a"),
        ("x/y/a.md", "a"),
        ("x/b.txt", "b"),
        ("tree/keep", "k"),
        ("tree/no.md", "n"),
        ("tree/sub/no", "n"),
        ("home.txt", "h"),
        ("home.md", "h"),
    ];
    let context = kiln.context("c", &files);
    kiln.build("copied", &context, &[]);
    let script = "cd / && find parents excluded named kept owned -type f | sort; \
        stat -c %u:%g /kept /kept/file /kept/sub/inner /kept/b.txt /owned /owned/sub/inner";
    let expected = "excluded/keep\nkept/a.txt\nkept/b.txt\nkept/file\nkept/sub/inner\nnamed/home.md\nowned/file\n\
        owned/sub/inner\nparents/b.txt\nparents/y/a.txt\n0:0\n100:200\n100:200\n0:0\n5:6\n5:6";
    assert_eq!(kiln.sh("copied", script), expected);
}

#[test]
fn archives_of_every_compression() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("packed/inner", "inner\n")]);
    let mut dockerfile = "FROM busybox\n".to_owned();
    let formats = [("plain", ""), ("gzip", "-z"), ("bzip2", "-j"), ("xz", "-J"), ("zstd", "--zstd")];
    for (name, flag) in formats {
        let (dir, file) = (context.to_str().unwrap(), context.join(name));
        let mut args = vec!["-C", dir, "-cf", file.to_str().unwrap()];
        args.extend(Some(flag).filter(|flag| !flag.is_empty()));
        args.push("packed");
        tool("tar", &args);
        dockerfile += &format!("ADD --chown=7:8 {name} /unpacked/{name}\nADD --unpack=false {name} /kept/\n");
    }
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    kiln.build("added", &context, &[]);
    let script = "cd /unpacked && for f in *; do echo $f $(cat $f/packed/inner) $(stat -c %u:%g $f/packed/inner); done; ls /kept";
    let expected = "bzip2 inner 7:8\ngzip inner 7:8\nplain inner 7:8\nxz inner 7:8\nzstd inner 7:8\n\
        bzip2\ngzip\nplain\nxz\nzstd";
    assert_eq!(kiln.sh("added", script), expected);
}

#[test]
fn odd_names_arrive_as_they_are() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("Dockerfile", "FROM busybox\nCOPY names /names\n"), ("names/x", "")]);
    let long = "l".repeat(255);
    let names: [&[u8]; 6] = [b"new\nline", b"\xff", b"-rf", b"back\\slash", b"*", long.as_bytes()];
    for name in names {
        fs::write(context.join("names").join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    let out = kiln.scratch("out");
    kiln.build("odd", &context, &["-o", &format!("type=local,dest={}", out.display())]);
    for name in names {
        let path = out.join("names").join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(fs::read(path).unwrap(), name, "{}", name.escape_ascii());
    }
}

/// What is wrong, and the words by which it is told.
#[test]
fn mistakes_are_told_by_name() {
    let kiln = Kiln::new();
    let cases = [
        ("COPY --link --chown=web a /", "a linked copy cannot look up the name `web`"),
        ("COPY --chown=nobody-here a /", "user `nobody-here` is not in the image's `/etc/passwd`"),
        ("COPY --chown=4294967296 a /", "invalid user or group `4294967296`"),
        ("COPY --parents none /", "`/none` is not in the build context"),
        ("COPY a b /new", "2 sources but the destination `/new` is no directory"),
        ("COPY d /etc/passwd", "cannot copy directory `d` over file `etc/passwd`"),
        ("COPY .wh.file /", "`.wh.file` cannot be in a layer"),
        ("RUN touch /.wh.etc", "`.wh.etc` cannot be in a layer"),
        ("COPY [ /", "is not a pattern"),
    ];
    for (line, expected) in cases {
        let files = [("a", "a"), ("b", "b"), ("d/inner", "i"), (".wh.file", "w")];
        let context = kiln.context("c", &files);
        fs::write(context.join("Dockerfile"), format!("FROM busybox\n{line}\n")).unwrap();
        let told = kiln.fails(1, &["build", context.to_str().unwrap()]);
        assert!(told.contains(expected) && told.contains(">>>"), "{line}\n{told}");
    }
}

#[test]
fn what_was_built_stays_what_it_was_when_the_context_changes() {
    let kiln = Kiln::new();
    let dockerfile = "FROM busybox\nWORKDIR /srv\nCOPY app .\nCOPY app/file note\n";
    let context =
        kiln.context("c", &[("Dockerfile", dockerfile), ("app/file", "built\n"), ("app/sub/x", "x\n")]);
    let directories = || fs::read_dir(kiln.root().join("snapshots")).unwrap().count();
    kiln.build_text("base", "FROM busybox\nRUN true\n");
    let before = directories();
    kiln.build("app", &context, &[]);
    assert_eq!(directories(), before, "a build that ends in copies makes no directory of theirs");
    fs::write(context.join("app/file"), "edited\n").unwrap();
    fs::remove_file(context.join("app/sub/x")).unwrap();
    assert_eq!(kiln.sh("app", "pwd; cat file sub/x note"), "/srv\nbuilt\nx\nbuilt");
    kiln.build("edited", &context, &[]);
    assert_eq!(kiln.sh("edited", "cat file; ls sub"), "edited");
    assert_eq!(kiln.sh("app", "cat file"), "built");
}
