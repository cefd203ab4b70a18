//! What becomes of a build: images at registries, archives, layouts and folders, and what other tools see in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Kiln, registry, tool};

/// A build over busybox: a base layer and three of its own, one of which hides files of the others.
const DOCKERFILE: &str = "FROM busybox
RUN mkdir /d && echo one > /d/one && seq 50000 > /d/seq
COPY f /f
RUN rm /d/one /etc/group && echo two > /d/two
CMD [\"cat\", \"/f\"]
";

fn context(kiln: &Kiln) -> PathBuf {
    kiln.context("context", &[("Dockerfile", DOCKERFILE), ("f", "copied\n")])
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn read_json(path: &Path) -> Value {
    json(&fs::read_to_string(path).unwrap())
}

fn name(what: &str) -> String {
    format!("{}/e2e/output-{what}-{}:1", registry(), std::process::id())
}

/// The manifest of a layout's only image, and its configuration.
fn documents(layout: &Path) -> (Value, Value) {
    let blob = |digest: &Value| {
        let (algorithm, hex) = digest.as_str().unwrap().split_once(':').unwrap();
        layout.join("blobs").join(algorithm).join(hex)
    };
    let index = read_json(&layout.join("index.json"));
    let manifest = read_json(&blob(&index["manifests"][0]["digest"]));
    let config = read_json(&blob(&manifest["config"]["digest"]));
    (manifest, config)
}

fn layers(manifest: &Value) -> Vec<String> {
    let types = manifest["layers"].as_array().unwrap().iter();
    types.map(|layer| layer["mediaType"].as_str().unwrap().rsplit('.').next().unwrap().to_owned()).collect()
}

/// Builds into a layout of its own; its documents.
fn to_layout(kiln: &Kiln, context: &Path, what: &str, attributes: &str, more: &[&str]) -> (Value, Value) {
    let layout = kiln.scratch(what).join("layout");
    let output = format!("type=oci,tar=false,dest={}{attributes}", layout.display());
    kiln.build("out", context, &[&["-o", &output], more].concat());
    documents(&layout)
}

#[test]
fn what_is_pushed_has_the_digest_that_it_has_here() {
    let kiln = Kiln::new();
    let (context, name) = (context(&kiln), name("push"));
    let (metadata, id) = (kiln.scratch("x").join("metadata.json"), kiln.scratch("x").join("id"));
    let archive = kiln.scratch("x").join("oci.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let (metadata_path, id_path) = (metadata.to_str().unwrap(), id.to_str().unwrap());
    let more = ["--push", "-o", &output, "--metadata-file", metadata_path, "--iidfile", id_path];
    kiln.build(&name, &context, &more);
    let told = read_json(&metadata);
    let digest = told["containerimage.digest"].as_str().unwrap();
    let inspected = tool("skopeo", &["inspect", "--tls-verify=false", &format!("docker://{name}")]);
    assert_eq!(json(&inspected)["Digest"], digest);
    let archived = tool("tar", &["-xOf", archive.to_str().unwrap(), "index.json"]);
    assert_eq!(json(&archived)["manifests"][0]["digest"], digest);
    assert_eq!(told["containerimage.descriptor"]["digest"], digest);
    assert_eq!(told["image.name"], name.as_str());
    assert_eq!(told["containerimage.config.digest"], fs::read_to_string(&id).unwrap().as_str());
    assert_eq!(kiln.sh(&name, "cat /d/two"), "two");
}

#[test]
fn a_push_by_digest_leaves_no_tag() {
    let kiln = Kiln::new();
    let context = context(&kiln);
    let name = name("by-digest").trim_end_matches(":1").to_owned();
    let metadata = kiln.scratch("x").join("metadata.json");
    let output = format!("type=image,name={name},push=true,push-by-digest=true,store=false");
    let path = metadata.to_str().unwrap().to_owned();
    kiln.ok(&["build", "-o", &output, "--metadata-file", &path, context.to_str().unwrap()]);
    let digest = read_json(&metadata)["containerimage.digest"].as_str().unwrap().to_owned();
    tool("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}@{digest}")]);
    let tags = Command::new("skopeo")
        .args(["list-tags", "--tls-verify=false", &format!("docker://{name}")])
        .output();
    assert!(!tags.unwrap().status.success(), "nobody gave it a tag");
    assert_eq!(kiln.ok(&["images", "-q"]), "", "`store=false` keeps nothing");
    let error = kiln.fails(1, &["build", "-o", "type=registry", context.to_str().unwrap()]);
    assert!(error.contains("needs a name"), "{error}");
}

#[test]
fn layers_are_packed_as_asked_and_those_of_the_base_stay() {
    let kiln = Kiln::new();
    let context = context(&kiln);
    let zstd = to_layout(&kiln, &context, "zstd", ",compression=zstd,compression-level=9", &[]).0;
    let kinds = layers(&zstd);
    assert_eq!(kinds[1..], ["tar+zstd", "tar+zstd", "tar+zstd"]);
    let usual = to_layout(&kiln, &context, "usual", "", &[]).0;
    assert_eq!(usual["layers"][0], zstd["layers"][0], "the base as it came");
    let forced = to_layout(&kiln, &context, "forced", ",compression=zstd,force-compression=true", &[]).0;
    assert!(layers(&forced).iter().all(|kind| kind == "tar+zstd"), "{forced}");
    let plain = to_layout(&kiln, &context, "plain", ",compression=uncompressed", &[]);
    for index in 1..4 {
        assert_eq!(plain.0["layers"][index]["digest"], plain.1["rootfs"]["diff_ids"][index]);
    }
    let docker = to_layout(&kiln, &context, "docker", ",oci-mediatypes=false", &[]).0;
    assert_eq!(docker["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(docker["layers"][1]["digest"], usual["layers"][1]["digest"], "packed once");
    let stored = to_layout(&kiln, &context, "stored", ",compression-level=0", &[]).0;
    assert!(stored["layers"][1]["size"].as_u64() > usual["layers"][1]["size"].as_u64());
    let at = |what: &str| format!("oci:{}", kiln.scratch(what).join("layout").display());
    for what in ["zstd", "usual", "forced", "plain"] {
        assert!(tool("skopeo", &["inspect", &at(what)]).contains("\"Layers\""), "{what}");
    }
}

#[test]
fn layers_become_one() {
    let kiln = Kiln::new();
    let context = context(&kiln);
    let before = to_layout(&kiln, &context, "before", "", &[]);
    let new = to_layout(&kiln, &context, "new", "", &["--squash"]);
    assert_eq!(layers(&new.0).len(), 2);
    assert_eq!(new.0["layers"][0], before.0["layers"][0]);
    assert_eq!(to_layout(&kiln, &context, "again", "", &["--squash=new"]), new, "the same each time");
    let all = to_layout(&kiln, &context, "all", "", &["--squash=all"]);
    assert_eq!(layers(&all.0).len(), 1);
    for (what, (_, config)) in [("new", &new), ("all", &all)] {
        let history = config["history"].as_array().unwrap();
        let with_layer = history.iter().filter(|entry| entry["empty_layer"] != true).count();
        assert_eq!(with_layer, config["rootfs"]["diff_ids"].as_array().unwrap().len(), "{what}");
        assert_eq!(history.len(), before.1["history"].as_array().unwrap().len() + 1);
        assert!(history.last().unwrap()["comment"].as_str().unwrap().starts_with("merge sha256:"));
    }
    kiln.build("squashed", &context, &["--squash", "--load"]);
    let script = "cat /f /d/two; ls /d; test ! -e /etc/group";
    let seen = kiln.sh("squashed", script);
    kiln.build("plain", &context, &[]);
    assert_eq!(seen, kiln.sh("plain", script));
    assert!(seen.starts_with("copied\ntwo\n") && !seen.contains("one"), "{seen}");
}

#[test]
fn times_in_layers_are_those_of_the_epoch() {
    let attributes = ",rewrite-timestamp=true";
    let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1000000000"];
    let mut found = Vec::new();
    // Two state roots, two moments, and files made in another order.
    for files in [["a", "b", "c"], ["c", "b", "a"]] {
        let kiln = Kiln::new();
        let context = kiln.context(
            "context",
            &[("Dockerfile", "FROM busybox\nCOPY d /d\nRUN echo made > /made && mkdir /e && touch /e/x\n")],
        );
        fs::create_dir(context.join("d")).unwrap();
        for file in files {
            fs::write(context.join("d").join(file), file).unwrap();
            set_mode(&context.join("d").join(file), 0o644);
        }
        set_mode(&context.join("d"), 0o755);
        let (manifest, config) = to_layout(&kiln, &context, "out", attributes, &epoch);
        let layout = kiln.scratch("out").join("layout");
        for layer in &manifest["layers"].as_array().unwrap()[1..] {
            let blob = layout
                .join("blobs/sha256")
                .join(layer["digest"].as_str().unwrap().trim_start_matches("sha256:"));
            let listed = tool("tar", &["--utc", "-tvzf", blob.to_str().unwrap()]);
            assert!(listed.lines().all(|line| line.contains("2001-09-09 01:46")), "{listed}");
        }
        assert_eq!(config["created"], "2001-09-09T01:46:40Z");
        found.push((manifest, config));
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    assert_eq!(found[0], found[1]);
}

/// The image of one context is the same bytes on another state root, under another umask, with any number of threads.
#[test]
fn where_and_how_it_is_built_leaves_no_trace() {
    let files = Kiln::new();
    let context = files.context(
        "context",
        &[
            ("Dockerfile", "FROM busybox\nWORKDIR /w/deep\nCOPY --chown=1:2 d d\n"),
            ("d/a", "a"),
            ("d/sub/b", "b"),
        ],
    );
    let numbers: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    fs::write(context.join("d/numbers"), numbers).unwrap();
    let mut found = Vec::new();
    for (umask, threads) in [("022", "1"), ("077", "2"), ("000", "3"), ("022", "8")] {
        let kiln = Kiln::new();
        for compression in ["gzip", "zstd"] {
            let archive = kiln.scratch("out").join("oci.tar");
            let output = format!(
                "type=oci,dest={},rewrite-timestamp=true,compression={compression}",
                archive.display()
            );
            let epoch = "SOURCE_DATE_EPOCH=1000000000";
            let build = kiln.command(&[
                "build",
                "-q",
                "--build-arg",
                epoch,
                "-o",
                &output,
                context.to_str().unwrap(),
            ]);
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("umask {umask}; exec \"$0\" \"$@\""));
            shell.arg(build.get_program()).args(build.get_args());
            shell.envs(build.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let status = shell.env("RAYON_NUM_THREADS", threads).status().unwrap();
            assert!(status.success());
            found.push((compression, fs::read(&archive).unwrap()));
        }
    }
    for (compression, bytes) in &found {
        let (_, first) = found.iter().find(|(other, _)| other == compression).unwrap();
        assert!(bytes == first, "{compression}: another archive");
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn annotations_are_where_they_were_asked_for() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("Dockerfile", "FROM scratch\nCOPY f /f\n"), ("f", "x\n")]);
    let layout = kiln.scratch("x").join("layout");
    let output = format!("type=oci,tar=false,dest={},annotation-index.from=output", layout.display());
    kiln.build(
        "annotated",
        &context,
        &[
            "--platform",
            "linux/amd64,linux/arm64",
            "-o",
            &output,
            "--annotation",
            "index,manifest:a=both",
            "--annotation",
            "manifest-descriptor[linux/arm64]:b=arm",
            "--annotation",
            "index-descriptor:c=top",
        ],
    );
    let list = read_json(&layout.join("index.json"));
    let blob = |digest: &Value| {
        read_json(&layout.join("blobs/sha256").join(digest.as_str().unwrap().trim_start_matches("sha256:")))
    };
    assert_eq!(list["manifests"][0]["annotations"]["c"], "top");
    let index = blob(&list["manifests"][0]["digest"]);
    assert_eq!(
        (&index["annotations"]["a"], &index["annotations"]["from"]),
        (&"both".into(), &"output".into())
    );
    assert_eq!(index["manifests"][1]["annotations"]["b"], "arm");
    assert!(index["manifests"][0].get("annotations").is_none());
    assert_eq!(blob(&index["manifests"][0]["digest"])["annotations"]["a"], "both");
    let single = ["build", "--annotation", "index:a=b", context.to_str().unwrap()];
    assert!(kiln.fails(1, &single).contains("makes no index"));
}

#[test]
fn a_layout_keeps_other_images_and_a_folder_is_emptied_on_demand() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("Dockerfile", "FROM scratch\nCOPY f /f\n"), ("f", "x\n")]);
    let layout = kiln.scratch("x").join("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    for tag in ["app:1", "app:2", "app:1"] {
        kiln.build(tag, &context, &["-o", &output]);
    }
    for tag in ["1", "2"] {
        tool("skopeo", &["inspect", &format!("oci:{}:{tag}", layout.display())]);
    }
    assert_eq!(read_json(&layout.join("index.json"))["manifests"].as_array().unwrap().len(), 2);
    let folder = kiln.scratch("folder");
    fs::create_dir_all(folder.join("old/deep")).unwrap();
    let local = format!("type=local,dest={},mode=delete", folder.display());
    let refused = kiln.fails(1, &["build", "-o", &local, context.to_str().unwrap()]);
    assert!(refused.contains("buildx.local.delete") && folder.join("old").exists(), "{refused}");
    kiln.build("out", &context, &["-o", &local, "--allow", "buildx.local.delete"]);
    assert!(folder.join("f").exists() && !folder.join("old").exists());
}

#[test]
fn an_output_that_fails_says_which() {
    let kiln = Kiln::new();
    let context = kiln.context("c", &[("Dockerfile", "FROM scratch\nCOPY f /f\n"), ("f", "x\n")]);
    let folder = kiln.scratch("out");
    let good = format!("type=tar,dest={}", folder.join("good.tar").display());
    let bad = "type=image,name=127.0.0.1:1/nobody:1,push=true";
    let error = kiln.fails(1, &["build", "-o", &good, "-o", bad, context.to_str().unwrap()]);
    assert!(error.contains("exporting to image") && error.contains("push `127.0.0.1:1/nobody:1`"), "{error}");
    assert!(folder.join("good.tar").exists());
    let unknown =
        kiln.fails(1, &["build", "-o", "type=tar,dest=x,compression=zstd", context.to_str().unwrap()]);
    assert!(
        unknown.contains("knows no attribute `compression`") && unknown.contains("platform-split"),
        "{unknown}"
    );
}
