//! Images that mean harm: what their layers have in places that the sandbox fills, and what comes out of them again. The
//! numbers are those of `docs/safety.md`.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};

use crate::harness::{Kiln, tool};

/// A tar of a folder, made by GNU tar with more `options`.
fn pack(from: &Path, to: &Path, options: &[&str]) {
    let mut args = vec!["-C", from.to_str().unwrap(), "-cf", to.to_str().unwrap()];
    args.extend(options);
    args.push(".");
    tool("tar", &args);
}

/// Everything beneath a folder, sorted.
fn paths(dir: &Path) -> Vec<String> {
    let listed = tool("find", &[dir.to_str().unwrap(), "-mindepth", "1", "-printf", "%P\n"]);
    let mut paths: Vec<String> = listed.lines().map(str::to_owned).collect();
    paths.sort();
    paths
}

/// U14.
#[test]
fn a_device_of_a_layer_is_there_and_does_not_open() {
    let kiln = Kiln::new();
    let context = kiln.scratch("c");
    let tree = kiln.scratch("tree");
    for (name, kind, major, minor) in [("mem", "c", "1", "1"), ("disk", "b", "254", "0")] {
        tool("mknod", &["-m", "666", tree.join(name).to_str().unwrap(), kind, major, minor]);
    }
    pack(&tree, &context.join("devices.tar"), &[]);
    let dockerfile = "FROM busybox
ADD devices.tar /added/
RUN mkdir /made && mknod /made/mem c 1 1 && mknod /made/disk b 254 0
RUN for device in /added/* /made/*; do \\
        dd if=$device of=/dev/null bs=1 count=1 2> /said; grep 'Operation not permitted' /said || exit 1; done
";
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let said = kiln.build("devices", &context, &[]);
    assert_eq!(said.matches("dd: can't open").count(), 4, "{said}");
    let inside = kiln.sh("devices", "ls -l /added; cat /added/mem /made/disk 2>&1; true");
    assert_eq!(inside.matches("Operation not permitted").count(), 2, "{inside}");
    assert!(inside.contains("1,   1") && inside.contains("254,   0"), "{inside}");
}

/// U25.
#[test]
fn files_where_the_sandbox_has_its_own_do_not_reach_the_host() {
    let kiln = Kiln::new();
    let canary = kiln
        .context("canary", &[("resolv.conf", "canary\n"), ("hosts", "canary\n"), ("hostname", "canary\n")]);
    let tree = kiln.context("tree", &[("dev/null", "image\n"), ("proc/cpuinfo", "image\n"), ("etc/x", "")]);
    let names = ["resolv.conf", "hosts", "hostname"];
    for name in names {
        symlink(canary.join(name), tree.join("etc").join(name)).unwrap();
    }
    let context = kiln.scratch("c");
    pack(&tree, &context.join("tree.tar"), &[]);
    let script = "for f in resolv.conf hosts hostname; do echo evil >> /etc/$f; done 2> /dev/null; \
                  test -c /dev/null && ! grep image /proc/cpuinfo";
    fs::write(context.join("Dockerfile"), format!("FROM busybox\nADD tree.tar /\nRUN {script}\n")).unwrap();
    let of_host = || names.map(|name| fs::read(Path::new("/etc").join(name)).ok());
    let before = of_host();
    kiln.build("hostile", &context, &[]);
    kiln.sh("hostile", script);
    assert_eq!(of_host(), before);
    for name in names {
        assert_eq!(fs::read_to_string(canary.join(name)).unwrap(), "canary\n", "{name}");
    }
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    let out = kiln.scratch("out");
    kiln.build("hostile", &context, &["-o", out.to_str().unwrap()]);
    assert_eq!(
        fs::read_to_string(out.join("proc/cpuinfo")).unwrap(),
        "image\n",
        "in a layer it is a file as any"
    );
}

/// An archive as `docker save` makes it, of these layers.
fn archive(kiln: &Kiln, name: &str, layers: &[PathBuf]) -> PathBuf {
    archive_with(kiln, name, layers, "")
}

/// One whose history is these lines, the last first.
fn archive_with(kiln: &Kiln, name: &str, layers: &[PathBuf], history: &str) -> PathBuf {
    let dir = kiln.scratch(&format!("archive-{name}"));
    let (mut files, mut diff_ids) = (Vec::new(), Vec::new());
    for (number, layer) in layers.iter().enumerate() {
        let file = format!("{number}.tar");
        fs::copy(layer, dir.join(&file)).unwrap();
        let sum = tool("sha256sum", &[layer.to_str().unwrap()]);
        diff_ids.push(format!("sha256:{}", sum.split(' ').next().unwrap()));
        files.push(file);
    }
    let entry = |line: &str| serde_json::json!({ "created_by": line, "comment": "buildkit.dockerfile.v0" });
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": history.lines().rev().map(entry).collect::<Vec<_>>(),
    });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let manifest =
        serde_json::json!([{ "Config": "config.json", "RepoTags": [format!("{name}:1")], "Layers": files }]);
    fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
    let out = kiln.scratch("archives").join(name);
    pack(&dir, &out, &[]);
    out
}

/// U28: what is hidden stays hidden on the way out, and no name or link of the archive leads anywhere.
#[test]
fn what_comes_out_of_a_crafted_image_is_safe_to_unpack() {
    let kiln = Kiln::new();
    let canary = kiln.context("canary", &[("file", "canary\n")]);
    let lower = kiln.context("lower", &[("d/old", ""), ("d/sub/older", ""), ("gone", ""), ("kept", "")]);
    let upper =
        kiln.context("upper", &[("d/.wh..wh..opq", ""), ("d/new", ""), (".wh.gone", ""), ("-rf", "")]);
    symlink(&canary, lower.join("out")).unwrap();
    symlink("../../../../../../../../etc", lower.join("up")).unwrap();
    let layers = kiln.scratch("layers");
    let layers = [layers.join("lower"), layers.join("upper")];
    pack(&lower, &layers[0], &[]);
    pack(&upper, &layers[1], &[]);
    kiln.ok(&["load", "-i", archive(&kiln, "crafted", &layers).to_str().unwrap()]);
    let context = kiln.context("c", &[("Dockerfile", "FROM crafted:1\nCOPY Dockerfile /out/file\n")]);
    let expected = ["-rf", "d", "d/new", "kept", "out", "up"];

    let out = kiln.scratch("out");
    let files = out.join("files.tar");
    kiln.build("again", &context, &["-o", &format!("type=tar,dest={}", files.display())]);
    kiln.build("again", &context, &[]);
    let saved = out.join("saved.tar");
    kiln.ok(&["save", "-o", saved.to_str().unwrap(), "again"]);
    for archive in [&files, &saved] {
        let names = tool("tar", &["-tPf", archive.to_str().unwrap()]);
        assert!(
            !names.lines().any(|name| name.starts_with('/') || name.split('/').any(|p| p == "..")),
            "{names}"
        );
        let to = kiln.scratch(&format!("unpacked-{}", archive.file_name().unwrap().display()));
        tool("tar", &["-C", to.to_str().unwrap(), "-xPf", archive.to_str().unwrap()]);
    }
    let mut seen = paths(&kiln.scratch("unpacked-files.tar"));
    let inside = canary.to_str().unwrap().trim_start_matches('/');
    seen.retain(|path| !inside.starts_with(path.as_str()) && !path.starts_with(inside));
    assert_eq!(seen, expected);

    let local = kiln.scratch("local");
    symlink(&canary, local.join("d")).unwrap();
    symlink(&canary, local.join("kept")).unwrap();
    let _ = kiln.output(&["build", "-o", local.to_str().unwrap(), context.to_str().unwrap()]);
    assert_eq!(paths(&canary), ["file"]);
    assert_eq!(fs::read_to_string(canary.join("file")).unwrap(), "canary\n");
}

/// B26: an image of the right name and history is no memory of a build.
#[test]
fn an_image_that_tells_the_right_history_is_not_taken_for_a_result() {
    let text = "FROM scratch AS base\nCOPY f /f\nFROM base\nCOPY f /g\n";
    let honest = Kiln::new();
    let context = honest.context("c", &[("Dockerfile", text), ("f", "honest\n")]);
    honest.build("app", &context, &[]);
    let history = honest.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "app"]);

    let kiln = Kiln::new();
    let tree = kiln.context("tree", &[("f", "evil\n"), ("g", "evil\n")]);
    let layer = kiln.scratch("layers").join("evil");
    pack(&tree, &layer, &[]);
    kiln.ok(&["load", "-i", archive_with(&kiln, "app", &[layer.clone(), layer], &history).to_str().unwrap()]);
    let said = kiln.build("app", &context, &[]);
    assert!(!said.contains("CACHED"), "{said}");
    let out = kiln.scratch("out");
    kiln.build("app", &context, &["-o", out.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(out.join("g")).unwrap(), "honest\n");
}

/// U07, for images: a name that climbs is refused before anything of its layer can be seen.
#[test]
fn an_image_whose_layer_climbs_is_refused() {
    let kiln = Kiln::new();
    let tree = kiln.context("tree", &[("f", "evil")]);
    let layer = kiln.scratch("layers").join("climbing");
    pack(&tree, &layer, &["-P", "--transform", "s,^./f,../../f,"]);
    let said = kiln.fails(1, &["load", "-i", archive(&kiln, "climbing", &[layer]).to_str().unwrap()]);
    assert!(said.contains("path contains `..`"), "{said}");
    assert!(!tool("find", &[kiln.root().to_str().unwrap(), "-name", "f"]).contains("/f"));
}
