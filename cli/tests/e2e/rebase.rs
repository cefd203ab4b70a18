//! `kiln rebase`: another base beneath an image, without a build and without fetching what nobody reads.

use crate::harness::{Kiln, registry};

/// Pushes two versions of a base and an image on the first, all from a kiln of their own; their names.
fn published(tag: &str) -> (String, String, String) {
    let makers = Kiln::new();
    let name = |what: &str| format!("{}/test/rebase-{tag}-{what}:1", registry());
    let (old, new, app) = (name("old"), name("new"), name("app"));
    let busybox = format!("{}/library/busybox:latest", registry());
    makers.build_text(
        &old,
        &format!("FROM {busybox}\nENV VERSION=1\nRUN echo old > /base\nCMD [\"cat\", \"/base\"]\n"),
    );
    makers.build_text(
        &new,
        &format!("FROM {busybox}\nENV VERSION=2\nRUN echo new > /base\nRUN echo more > /more\n"),
    );
    makers.build_text(&app, &format!("FROM {old}\nENV APP=1\nRUN echo app > /app\nLABEL l=m\n"));
    for name in [&old, &new, &app] {
        makers.ok(&["push", name]);
    }
    (old, new, app)
}

#[test]
fn an_image_of_a_registry_gets_another_base() {
    let (old, new, app) = published("remote");
    let kiln = Kiln::new();
    let output = kiln.output(&["rebase", &app, "--old-base", &old, "--new-base", &new, "-t", "fixed"]);
    let (said, noted) = (crate::harness::text(&output.stdout), crate::harness::text(&output.stderr));
    assert!(output.status.success(), "{noted}");
    assert!(
        said.contains("1 layer of the image on 3 layers of") && said.contains("in place of 2 layers"),
        "{said}"
    );
    assert!(noted.contains("`ENV VERSION` stays `1`") && noted.contains("`2`"), "{noted}");
    let blobs = std::fs::read_dir(kiln.root().join("blobs/sha256")).unwrap().flatten();
    let largest = blobs.map(|blob| blob.metadata().unwrap().len()).max().unwrap();
    assert!(largest < 16 << 10, "nothing but documents was fetched: {largest}");

    let pushed = format!("{}/test/rebase-remote-fixed:1", registry());
    kiln.ok(&["tag", "fixed", &pushed]);
    kiln.ok(&["push", &pushed]);
    let blobs = std::fs::read_dir(kiln.root().join("blobs/sha256")).unwrap().flatten();
    let largest = blobs.map(|blob| blob.metadata().unwrap().len()).max().unwrap();
    assert!(largest < 16 << 10, "layers went from repository to repository: {largest}");

    assert_eq!(kiln.sh("fixed", "cat /base /more /app; echo $VERSION $APP"), "new\nmore\napp\n1 1");
    assert_eq!(kiln.inspect("fixed", "{{json .Config.Cmd}} {{.Config.Labels.l}}"), "[\"cat\",\"/base\"] m");
    let elsewhere = Kiln::new();
    assert_eq!(elsewhere.ok(&["run", "--rm", "--network", "none", &pushed]), "new");
    let history = elsewhere.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", &pushed]);
    assert!(history.contains("echo more") && history.contains("echo app"), "{history}");
    assert!(!history.contains("echo old"), "{history}");
}

#[test]
fn annotations_say_the_base_and_what_is_here_is_used() {
    let kiln = Kiln::new();
    let busybox = format!("{}/library/busybox:latest", registry());
    kiln.build_text("base:1", &format!("FROM {busybox}\nRUN echo one > /base\n"));
    kiln.build_text("app", "FROM base:1\nCOPY --link Dockerfile /copied\nRUN echo app > /app\n");
    let missing = kiln.fails(1, &["rebase", "app"]);
    assert!(
        missing.contains("org.opencontainers.image.base.name") && missing.contains("--new-base"),
        "{missing}"
    );
    kiln.build_text("base:2", &format!("FROM {busybox}\nRUN echo two > /base\n"));
    let wrong = kiln.fails(1, &["rebase", "app", "--old-base", "base:2", "--new-base", "base:1"]);
    assert!(wrong.contains("layer 2 of the base is") && wrong.contains("--old-base"), "{wrong}");

    kiln.ok(&["rebase", "app", "--old-base", "base:1", "--new-base", "base:2"]);
    assert_eq!(kiln.sh("app", "cat /base /app; test -s /copied && echo copied"), "two\napp\ncopied");

    // From here on the image itself knows what it stands on.
    kiln.build_text("base:2", &format!("FROM {busybox}\nRUN echo three > /base\n"));
    kiln.ok(&["rebase", "app", "-t", "next"]);
    assert_eq!(kiln.sh("next", "cat /base /app"), "three\napp");
    let again = kiln.ok(&["rebase", "next"]);
    assert!(again.contains("already"), "{again}");
    assert_eq!(kiln.sh("app", "cat /base"), "two", "the image that it was made from stays");
    let base = kiln.ok(&["rebase", "next", "--old-base", "base:2", "--new-base", "base:1", "-t", "back"]);
    assert!(base.contains("base:1"), "{base}");
}
