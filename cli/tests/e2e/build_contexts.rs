//! Where a build's files come from.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use kiln_test_support::web::{Reply, Web};

use crate::build_remote::repository;
use crate::harness::{Kiln, show, text, tool};

/// A tar of everything in `dir`, compressed as `flag` says.
fn tar(dir: &Path, flag: &str) -> Vec<u8> {
    let args = ["-C", dir.to_str().unwrap(), flag, "-cf", "-", "."];
    let args = args.iter().filter(|arg| !arg.is_empty());
    let output = Command::new("tar").args(args).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

const FILES: [(&str, &str); 4] = [
    ("Dockerfile", "FROM busybox\nCOPY . /all\n"),
    ("file", "from the context\n"),
    (".dockerignore", "file\n"),
    ("other/Dockerfile", "FROM busybox\nCOPY file /other\n"),
];

#[test]
fn a_tar_or_a_dockerfile_comes_on_standard_input() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &FILES);
    for flag in ["", "--gzip", "--xz", "--zstd", "--bzip2"] {
        let output = kiln.with_input(&["build", "-t", "sent", "-"], &tar(&context, flag));
        assert!(output.status.success(), "{flag}: {}", show(&output));
        // Whoever sends a tar has chosen what is in it.
        assert_eq!(kiln.sh("sent", "cat /all/file"), "from the context");
    }
    let output = kiln.with_input(&["build", "-t", "sent", "-f", "other/Dockerfile", "-"], &tar(&context, ""));
    assert!(output.status.success(), "{}", show(&output));
    assert_eq!(kiln.sh("sent", "cat /other"), "from the context");
    let output = kiln.with_input(&["build", "-t", "text", "-"], b"FROM busybox\nRUN echo text > /text\n");
    assert!(output.status.success(), "{}", show(&output));
    assert_eq!(kiln.sh("text", "cat /text"), "text");
    let copies = b"FROM busybox\nCOPY file /\n";
    let output = kiln.with_input(&["build", "-"], copies);
    assert!(text(&output.stderr).contains("file` is not in"), "{}", show(&output));
    let output = kiln.with_input(&["build", "-t", "both", "-f", "-", context.to_str().unwrap()], copies);
    assert!(text(&output.stderr).contains(".dockerignore line 1 excludes it"), "{}", show(&output));
    fs::remove_file(context.join(".dockerignore")).unwrap();
    let output = kiln.with_input(&["build", "-t", "both", "-f", "-", context.to_str().unwrap()], copies);
    assert!(output.status.success(), "{}", show(&output));
    assert_eq!(kiln.sh("both", "cat /file"), "from the context");
    assert!(kiln.fails(1, &["build", "-f", "-", "-"]).contains("both the context and the Dockerfile"));
}

#[test]
fn a_repository_and_a_downloaded_tar_are_contexts() {
    let kiln = Kiln::new();
    let served = kiln.scratch("served");
    repository(
        &served,
        "r.git",
        &[FILES[0], FILES[1], FILES[2], ("sub/Dockerfile", FILES[3].1), ("sub/file", "sub\n")],
    );
    let web = Web::git(&served);
    let url = format!("{}/r.git", web.origin());
    kiln.build("fetched", Path::new(&url), &[]);
    assert_eq!(
        kiln.sh("fetched", "cat /all/file; ls -A /all"),
        "from the context\n.dockerignore\nDockerfile\nfile\nsub"
    );
    kiln.build("fetched", Path::new(&format!("{url}#main:sub")), &[]);
    assert_eq!(kiln.sh("fetched", "cat /other"), "sub");
    kiln.build("fetched", Path::new(&format!("{url}?branch=main")), &["-f", "sub/Dockerfile"]);
    assert_eq!(kiln.sh("fetched", "cat /other"), "from the context");
    kiln.build("fetched", Path::new(&url), &["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"]);
    assert_eq!(kiln.sh("fetched", "ls -d /all/.git"), "/all/.git");
    let archive = tar(&kiln.context("c", &FILES), "--gzip");
    let web = Web::start(move |asked| match asked.path.as_str() {
        "/c.tar.gz" => Reply::body(archive.clone()),
        "/Dockerfile" => Reply::body("FROM busybox\nCOPY context /itself\n"),
        _ => Reply::status(404),
    });
    kiln.build("tarred", Path::new(&format!("{}/c.tar.gz", web.origin())), &[]);
    assert_eq!(kiln.sh("tarred", "cat /all/file"), "from the context");
    kiln.build("alone", Path::new(&format!("{}/Dockerfile", web.origin())), &[]);
    assert_eq!(kiln.sh("alone", "head -1 /itself"), "FROM busybox");
    let ast = kiln.ok(&["debug", "ast", &format!("{}/Dockerfile", web.origin())]);
    assert!(ast.contains("/itself"), "{ast}");
    let error = kiln.fails(1, &["build", &format!("{}/nowhere", web.origin())]);
    assert!(error.contains("404"), "{error}");
}

#[test]
fn a_dockerfile_may_be_elsewhere_or_have_another_name() {
    let kiln = Kiln::new();
    let context = kiln.context(
        "c",
        &[
            ("file", "x\n"),
            ("Containerfile", "FROM busybox\nCOPY . /all\n"),
            (".containerignore", "hidden\n"),
            ("hidden", ""),
        ],
    );
    kiln.build("named", &context, &[]);
    assert_eq!(kiln.sh("named", "ls /all"), "Containerfile\nfile");
    let elsewhere = kiln.context(
        "elsewhere",
        &[("my.Dockerfile", "FROM busybox\nCOPY . /all\n"), ("my.Dockerfile.dockerignore", "**\n!hidden\n")],
    );
    kiln.build("named", &context, &["-f", elsewhere.join("my.Dockerfile").to_str().unwrap()]);
    assert_eq!(kiln.sh("named", "ls -A /all"), "hidden");
}

/// Tables B (20, 21) and U (07) of safety: nothing outside of a context is read or written.
#[test]
fn a_context_leads_nowhere_else() {
    let kiln = Kiln::new();
    let canary = kiln.scratch("outside").join("canary");
    fs::write(&canary, "FROM busybox\nRUN echo stolen\n").unwrap();
    let context = kiln.context("c", &[("file", "x\n")]);
    for (name, target) in [("Dockerfile", canary.clone()), ("dockerfile", "../outside/canary".into())] {
        symlink(&target, context.join(name)).unwrap();
        let error = kiln.fails(1, &["build", context.to_str().unwrap()]);
        assert!(error.contains("leads out of the folder") && !error.contains("stolen"), "{error}");
        let mut bytes = tar(&context, "");
        bytes.write_all(b"trailing garbage").unwrap();
        let output = kiln.with_input(&["build", "-"], &bytes);
        assert!(!output.status.success() && !text(&output.stderr).contains("stolen"), "{}", show(&output));
        fs::remove_file(context.join(name)).unwrap();
    }
    fs::write(context.join("Dockerfile"), "FROM busybox\nCOPY . /all\n").unwrap();
    symlink(&canary, context.join(".dockerignore")).unwrap();
    assert!(kiln.fails(1, &["build", context.to_str().unwrap()]).contains("leads out of the folder"));
    for name in ["../canary", "a/../../canary", "link/canary"] {
        let dir = kiln.scratch("tars");
        let list = format!(
            "import tarfile,io,sys\nt=tarfile.open(sys.argv[1],'w')\n\
             l=tarfile.TarInfo('link');l.type=tarfile.SYMTYPE;l.linkname='{}';t.addfile(l)\n\
             d=tarfile.TarInfo('Dockerfile');d.size=13;t.addfile(d,io.BytesIO(b'FROM busybox\\n'))\n\
             f=tarfile.TarInfo('{name}');f.size=4;t.addfile(f,io.BytesIO(b'evil'))\nt.close()\n",
            canary.parent().unwrap().display()
        );
        let path = dir.join("evil.tar");
        tool("python3", &["-c", &list, path.to_str().unwrap()]);
        let output = kiln.with_input(&["build", "-"], &fs::read(&path).unwrap());
        assert!(!text(&output.stderr).contains("panicked"), "{}", show(&output));
        assert!(fs::read_to_string(&canary).unwrap().contains("stolen"), "{name}");
    }
}

#[test]
fn named_contexts_stand_for_stages_and_images() {
    let kiln = Kiln::new();
    let dockerfile = "\
FROM nowhere.invalid/image AS base
RUN false
FROM busybox
COPY --from=base /from /base
COPY --from=docs / /docs
RUN --mount=type=bind,from=docs,target=/mnt cat /mnt/page > /mounted
";
    let context = kiln.context("c", &[("Dockerfile", dockerfile)]);
    let docs = kiln.context("docs", &[("page", "text\n"), ("draft", ""), (".dockerignore", "draft\n")]);
    let base = kiln.context("base", &[("from", "a folder\n")]);
    let given = |name: &str, place: &str| format!("--build-context={name}={place}");
    let docs = given("docs", docs.to_str().unwrap());
    kiln.build("named", &context, &[&docs, &given("base", base.to_str().unwrap())]);
    let script = "cat /base /mounted; ls -A /docs";
    assert_eq!(kiln.sh("named", script), "a folder\ntext\n.dockerignore\npage");
    kiln.build_text("local/base", "FROM busybox\nRUN echo an image > /from\n");
    kiln.build("named", &context, &[&docs, &given("base", "docker-image://local/base")]);
    assert_eq!(kiln.sh("named", "cat /base"), "an image");
    let served = kiln.scratch("served");
    repository(&served, "r.git", &[("sub/from", "git\n")]);
    let web = Web::git(&served);
    let git = given("base", &format!("{}/r.git#main:sub", web.origin()));
    kiln.build("named", &context, &[&docs, &git]);
    assert_eq!(kiln.sh("named", "cat /base"), "git");
    let web = Web::start(|_| Reply::body("downloaded\n"));
    let text = kiln.context("text", &[("Dockerfile", "FROM busybox\nCOPY --from=web /context /web\n")]);
    kiln.build("web", &text, &[&given("web", &format!("{}/file", web.origin()))]);
    assert_eq!(kiln.sh("web", "cat /web"), "downloaded");
    for (bad, expected) in [
        (given("docs", "/nowhere/at/all"), "cannot read the context"),
        (given("Docs", "."), "cannot be the name"),
        (given("docs", "docker-image://UPPER"), "UPPER"),
        (given("docs", "ftp://h/x"), "the scheme `ftp`"),
    ] {
        let error = kiln.fails(1, &["build", &bad, context.to_str().unwrap()]);
        assert!(error.contains(expected), "{bad}: {error}");
    }
}

#[test]
fn a_base_comes_from_an_oci_layout() {
    let kiln = Kiln::new();
    let mine = "FROM busybox\nENV MINE=yes\nRUN echo of the layout > /mine\n";
    let source = kiln.context("source", &[("Dockerfile", mine)]);
    let tar = kiln.scratch("tars").join("layout.tar");
    let output = format!("type=oci,dest={}", tar.display());
    kiln.ok(&["build", "-t", "any/name:v1", "-o", &output, source.to_str().unwrap()]);
    let layout = kiln.scratch("layout");
    tool("tar", &["-C", layout.to_str().unwrap(), "-xf", tar.to_str().unwrap()]);
    let context = kiln.context("c", &[("Dockerfile", "FROM alpine\nRUN echo $MINE > /env\n")]);
    // Another root, which does not have the layers.
    let other = Kiln::new();
    for place in ["", ":v1"] {
        let given = format!("--build-context=alpine=oci-layout://{}{place}", layout.display());
        other.build("based", &context, &[&given]);
        assert_eq!(other.sh("based", "cat /mine /env"), "of the layout\nyes");
    }
    let given = format!("--build-context=alpine=oci-layout://{}:other", layout.display());
    let error = other.fails(1, &["build", &given, context.to_str().unwrap()]);
    assert!(error.contains("there is no such image in the layout"), "{error}");
    let blob = tool("sh", &["-c", &format!("ls -S {}/blobs/sha256/* | head -1", layout.display())]);
    fs::write(blob, "not what the digest says").unwrap();
    let third = Kiln::new();
    let given = format!("--build-context=alpine=oci-layout://{}", layout.display());
    assert!(third.fails(1, &["build", &given, context.to_str().unwrap()]).contains("sha256:"));
}
