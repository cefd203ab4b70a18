//! Several platforms: one build, one index, and programs for another machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Kiln, registry, show, text, tool};

/// A stage on this machine that compiles for another, and an image of nothing but its result.
const CROSS: &str = "\
FROM --platform=$BUILDPLATFORM busybox AS tools
RUN echo tools-run; echo compiler > /compiler
FROM tools AS build
ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM
RUN echo \"$TARGETPLATFORM $TARGETOS $TARGETARCH $TARGETVARIANT by $BUILDPLATFORM\" > /program
FROM scratch
COPY --from=build /program /compiler /
CMD [\"/program\"]
";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn cross(kiln: &Kiln) -> PathBuf {
    kiln.context("cross", &[("Dockerfile", CROSS)])
}

fn build_cross(kiln: &Kiln, tag: &str, more: &[&str]) -> String {
    let platforms = ["--platform", "linux/amd64,linux/arm64/v8", "--platform", "linux/arm/v6"];
    kiln.build(tag, &cross(kiln), &[&platforms, more].concat())
}

/// The platforms of an image's index, as `inspect` tells them.
fn platforms_of(kiln: &Kiln, image: &str) -> Vec<String> {
    let all = json(&kiln.ok(&["inspect", "--type", "image", image]));
    let platform = |entry: &Value| {
        let platform = &entry["Descriptor"]["platform"];
        let variant = platform["variant"].as_str().map(|variant| format!("/{variant}")).unwrap_or_default();
        format!(
            "{}/{}{variant}",
            platform["os"].as_str().unwrap(),
            platform["architecture"].as_str().unwrap()
        )
    };
    all[0]["Manifests"].as_array().unwrap().iter().map(platform).collect()
}

#[test]
fn one_build_makes_an_index_and_shared_stages_run_once() {
    let kiln = Kiln::new();
    let iidfile = kiln.scratch("out").join("iid");
    let log = build_cross(&kiln, "app:1", &["-t", "app:2", "--iidfile", iidfile.to_str().unwrap()]);
    assert_eq!(log.matches("tools-run\n").count(), 1, "{log}");
    for prefix in [
        "[linux/amd64 tools 1/2] FROM ",
        "[linux/amd64 build 1/1] RUN ",
        "[linux/amd64->arm64 build 1/1] RUN ",
        "[linux/amd64->arm/v6 build 1/1] RUN ",
        "[linux/arm64 stage-2 1/1] COPY ",
        "[linux/amd64 internal] load metadata for docker.io/library/busybox",
    ] {
        assert!(log.contains(prefix), "no `{prefix}` in\n{log}");
    }
    let all = ["linux/amd64", "linux/arm64", "linux/arm/v6"];
    assert_eq!(platforms_of(&kiln, "app:1"), all);
    assert_eq!(platforms_of(&kiln, "app:2"), all);
    let id = fs::read_to_string(&iidfile).unwrap();
    let inspected = json(&kiln.ok(&["inspect", &id]));
    assert_eq!(inspected[0]["Descriptor"]["digest"], id.as_str());
    assert_eq!(kiln.ok(&["images", "--format", "{{.Platforms}}", "app:1"]), all.join(","));
    assert_eq!(
        kiln.ok(&[
            "inspect",
            "--platform",
            "linux/arm/v6",
            "--format",
            "{{.Architecture}} {{.Variant}}",
            "app:1"
        ]),
        "arm v6"
    );
    let id = kiln.ok(&["inspect", "--platform", "linux/arm64", "--format", "{{.Id}}", "app:1"]);
    assert_eq!(kiln.inspect(&id, "{{.Architecture}}"), "arm64", "an image of an index has an id too");
    assert!(kiln.ok(&["history", "--platform", "linux/arm64", "app:1"]).contains("COPY"));
    let again = build_cross(&kiln, "app:1", &[]);
    assert!(!again.contains("tools-run\n"), "{again}");
}

#[test]
fn files_of_several_platforms_are_in_a_folder_each() {
    let kiln = Kiln::new();
    let out = kiln.scratch("out");
    let files = out.join("files");
    build_cross(&kiln, "x", &["-o", files.to_str().unwrap()]);
    let program = |folder: &str| fs::read_to_string(files.join(folder).join("program")).unwrap();
    assert_eq!(program("linux_amd64"), "linux/amd64 linux amd64  by linux/amd64\n");
    assert_eq!(program("linux_arm64"), "linux/arm64 linux arm64  by linux/amd64\n");
    assert_eq!(program("linux_arm_v6"), "linux/arm/v6 linux arm v6 by linux/amd64\n");

    let merged = format!("type=local,dest={},platform-split=false", out.join("merged").display());
    let platforms = ["build", "--platform", "linux/amd64,linux/arm64"];
    let context = cross(&kiln);
    let said = kiln.fails(1, &[&platforms[..], &["-o", &merged, context.to_str().unwrap()]].concat());
    assert!(said.contains("is there for `linux/amd64` and for `linux/arm64`"), "{said}");

    let tar = out.join("files.tar");
    build_cross(&kiln, "x", &["-o", &format!("type=tar,dest={}", tar.display())]);
    let listed = tool("tar", &["-tf", tar.to_str().unwrap()]);
    let listed: Vec<&str> =
        listed.lines().filter(|line| line.ends_with("/program") || line.ends_with('/')).collect();
    let folders = ["linux_amd64", "linux_arm64", "linux_arm_v6"];
    let expected: Vec<String> =
        folders.iter().flat_map(|folder| [format!("{folder}/"), format!("{folder}/program")]).collect();
    assert_eq!(listed, expected);

    let said = kiln.fails(
        1,
        &[
            "build",
            "--platform",
            "linux/amd64,linux/arm64",
            "-o",
            "type=docker,dest=x",
            cross(&kiln).to_str().unwrap(),
        ],
    );
    assert!(said.contains("type=docker") && said.contains("hint: `-o type=oci`"), "{said}");

    let oci = out.join("oci.tar");
    build_cross(&kiln, "example.org/app:1", &["-o", &format!("type=oci,dest={}", oci.display())]);
    let other = Kiln::new();
    assert!(other.ok(&["load", "-i", oci.to_str().unwrap()]).contains("example.org/app:1"));
    assert_eq!(platforms_of(&other, "example.org/app:1").len(), 3);
}

/// Pushes the index of three platforms; its name.
fn pushed(kiln: &Kiln, what: &str) -> String {
    let name = format!("{}/e2e/{what}-{}:1", registry(), std::process::id());
    build_cross(kiln, &name, &["--push"]);
    name
}

/// What the registry has under a name.
fn raw(name: &str) -> Value {
    json(&tool("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]))
}

fn listed_platforms(kiln: &Kiln) -> String {
    kiln.ok(&["images", "--format", "{{.Platforms}}"])
}

#[test]
fn an_index_is_pushed_and_pulled_by_platform() {
    let kiln = Kiln::new();
    let name = pushed(&kiln, "index");
    let manifests = raw(&name)["manifests"].as_array().unwrap().clone();
    assert_eq!(manifests.len(), 3);
    assert_eq!(manifests[2]["platform"]["variant"], "v6");
    let (from, to) = (format!("docker://{name}"), format!("oci:{}:all", kiln.scratch("layout").display()));
    tool("skopeo", &["--insecure-policy", "copy", "--all", "--src-tls-verify=false", &from, &to]);

    let other = Kiln::new();
    other.ok(&["pull", "--platform", "linux/arm64", &name]);
    assert_eq!(other.inspect(&name, "{{.Architecture}}"), "arm64");
    assert_eq!(listed_platforms(&other), "linux/arm64");
    let said = other.fails(1, &["inspect", "--platform", "linux/s390x", &name]);
    assert!(said.contains("here for `linux/arm64` and not for `linux/s390x`"), "{said}");
    // Who does not say which one means this machine's, which the index has and the store has not.
    other.ok(&["create", &name]);
    assert_eq!(listed_platforms(&other), "linux/amd64,linux/arm64");
    assert_eq!(other.inspect(&name, "{{.Architecture}}"), "amd64");
}

#[test]
fn a_part_of_an_index_is_saved_loaded_and_pushed_on() {
    let kiln = Kiln::new();
    let name = pushed(&kiln, "part");
    kiln.ok(&["rmi", &name]);
    kiln.ok(&["system", "prune", "--force", "--all"]);
    for platform in ["linux/amd64", "linux/arm64"] {
        kiln.ok(&["pull", "--platform", platform, &name]);
    }
    let archive = kiln.scratch("out").join("x.tar");
    kiln.ok(&["save", "-o", archive.to_str().unwrap(), &name]);
    tool("skopeo", &["inspect", &format!("oci-archive:{}", archive.display())]);
    tool("skopeo", &["inspect", &format!("docker-archive:{}", archive.display())]);
    let other = Kiln::new();
    other.ok(&["load", "-i", archive.to_str().unwrap()]);
    let digest = "{{.Descriptor.digest}}";
    assert_eq!(other.inspect(&name, digest), kiln.inspect(&name, digest));
    assert_eq!(listed_platforms(&other), "linux/amd64,linux/arm64");

    let single = kiln.scratch("out").join("arm64.tar");
    kiln.ok(&["save", "--platform", "linux/arm64", "-o", single.to_str().unwrap(), &name]);
    let third = Kiln::new();
    third.ok(&["load", "-i", single.to_str().unwrap()]);
    assert_eq!((listed_platforms(&third).as_str(), platforms_of(&third, &name).len()), ("linux/arm64", 0));

    let elsewhere = format!("{}/e2e/part-on-{}:1", registry(), std::process::id());
    other.ok(&["tag", &name, &elsewhere]);
    let pushed = other.output(&["push", &elsewhere]);
    assert!(pushed.status.success(), "{}", show(&pushed));
    assert!(text(&pushed.stderr).contains("left out of"), "{}", show(&pushed));
    assert_eq!(raw(&elsewhere)["manifests"].as_array().unwrap().len(), 2);
    other.ok(&["push", "--platform", "linux/arm64", &elsewhere]);
    let config = ["inspect", "--config", "--tls-verify=false", "--override-arch", "arm64"];
    let config = tool("skopeo", &[&config[..], &[&format!("docker://{elsewhere}")]].concat());
    assert_eq!(json(&config)["architecture"], "arm64");
}

#[test]
fn removing_an_index_removes_all_of_it() {
    let kiln = Kiln::new();
    build_cross(&kiln, "app", &[]);
    let blobs = || fs::read_dir(kiln.root().join("blobs/sha256")).unwrap().count();
    assert!(blobs() >= 7, "an index, three manifests and three configurations");
    kiln.ok(&["system", "prune", "--force"]);
    assert_eq!(platforms_of(&kiln, "app").len(), 3, "what has a name stays");
    for platform in ["linux/amd64", "linux/arm64", "linux/arm/v6"] {
        kiln.ok(&["inspect", "--platform", platform, "app"]);
    }
    kiln.ok(&["rmi", "app"]);
    kiln.ok(&["system", "prune", "--force", "--all"]);
    assert_eq!(kiln.ok(&["images", "-q"]), "");
    assert_eq!(blobs(), 0);
}

/// An image for `linux/arm64` of one file, which no registry has.
fn import_arm64(kiln: &Kiln) -> String {
    let tree = kiln.context("tree", &[("etc/machine", "arm64\n")]);
    let archive = kiln.scratch("out").join("rootfs.tar");
    let name = format!("{}/e2e/arm64-{}:1", registry(), std::process::id());
    tool("tar", &["-C", tree.to_str().unwrap(), "-cf", archive.to_str().unwrap(), "."]);
    kiln.ok(&["import", "--platform", "linux/arm64", archive.to_str().unwrap(), &name]);
    name
}

#[test]
fn nobody_asks_and_the_base_decides_somebody_asks_and_gets_it() {
    let kiln = Kiln::new();
    let base = import_arm64(&kiln);
    let dockerfile = format!("FROM {base}\nCOPY Dockerfile /\n");
    let context = kiln.context("app", &[("Dockerfile", &dockerfile)]);
    let log = kiln.build("app", &context, &[]);
    assert!(log.contains("InvalidBaseImagePlatform"), "{log}");
    assert_eq!(kiln.inspect("app", "{{.Os}}/{{.Architecture}}"), "linux/arm64");
    kiln.build("app", &context, &["--platform", "linux/arm64"]);
    let said = kiln.fails(1, &["build", "--platform", "linux/s390x", context.to_str().unwrap()]);
    assert!(said.contains("hint: the image of that name that is here is for `linux/arm64`"), "{said}");

    // The registry has the image for one platform alone, and does not say so before it is fetched.
    kiln.ok(&["push", &base]);
    kiln.build("app", &context, &["--platform", "linux/s390x"]);
    assert_eq!(kiln.inspect("app", "{{.Os}}/{{.Architecture}}"), "linux/s390x");
}

#[test]
fn a_container_of_any_platform_keeps_the_image() {
    let kiln = Kiln::new();
    build_cross(&kiln, "app", &[]);
    kiln.ok(&["create", "--name", "one", "--platform", "linux/arm64", "app"]);
    let id = kiln.ok(&["inspect", "--platform", "linux/arm64", "--format", "{{.Id}}", "app"]);
    assert_eq!(kiln.inspect("one", "{{.Image}}"), id);
    let said = kiln.fails(1, &["rmi", "app"]);
    assert!(said.contains("`one` uses the image"), "{said}");
    kiln.ok(&["image", "prune", "--all", "--force"]);
    kiln.ok(&["inspect", "--type", "image", "app"]);
    let said = kiln.fails(125, &["create", "--pull", "never", "--platform", "linux/s390x", "app"]);
    assert!(
        said.contains("and not for `linux/s390x`") && said.contains("hint: `kiln pull --platform"),
        "{said}"
    );
    kiln.ok(&["rm", "one"]);
    kiln.ok(&["rmi", "app"]);
}

/// A program for `linux/arm64` that says so: `write(1, …)` and `exit(0)`, by hand.
fn arm64_program() -> Vec<u8> {
    const TEXT: &[u8] = b"hello from arm64\n";
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let code: [u32; 8] = [
        0xd280_0020,                            // mov x0, #1
        0x1000_00e1,                            // adr x1, text
        0xd280_0002 | (TEXT.len() as u32) << 5, // mov x2, #length
        0xd280_0808,                            // mov x8, #64 (write)
        0xd400_0001,                            // svc #0
        0xd280_0000,                            // mov x0, #0
        0xd280_0ba8,                            // mov x8, #93 (exit)
        0xd400_0001,                            // svc #0
    ];
    let size = HEADERS + 4 * code.len() as u64 + TEXT.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0".to_vec();
    file.extend([BASE + HEADERS, 64, 0].iter().flat_map(|n| n.to_le_bytes()));
    file.extend(0u32.to_le_bytes());
    file.extend([64u16, 56, 1, 64, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
    file.extend([1u32, 5].iter().flat_map(|n| n.to_le_bytes()));
    file.extend([0, BASE, BASE, size, size, 0x1000].iter().flat_map(|n| n.to_le_bytes()));
    file.extend(code.iter().flat_map(|n| n.to_le_bytes()));
    file.extend(TEXT);
    file
}

/// A context whose Dockerfile runs the program.
fn foreign(kiln: &Kiln) -> PathBuf {
    let context = kiln.context(
        "foreign",
        &[("Dockerfile", "FROM scratch\nCOPY hello /hello\nRUN [\"/hello\"]\nCMD [\"/hello\"]\n")],
    );
    fs::write(context.join("hello"), arm64_program()).unwrap();
    fs::set_permissions(context.join("hello"), fs::Permissions::from_mode(0o755)).unwrap();
    context
}

/// Whether this machine runs the program: by itself or by an emulator that is found in every root.
fn runs_here(program: &Path) -> bool {
    let root = program.parent().unwrap();
    let mut chroot = Command::new("chroot");
    chroot.arg(root).arg("/hello").output().is_ok_and(|output| output.status.success())
}

/// Where an emulator is registered the steps run, elsewhere the first of them says what to do: both are tested, each on its
/// machine.
#[test]
fn a_step_for_another_machine_runs_or_says_what_is_missing() {
    let kiln = Kiln::new();
    let context = foreign(&kiln);
    let path = context.to_str().unwrap();
    let build = ["build", "--progress", "plain", "--platform", "linux/arm64", "-t", "hello", path];
    if runs_here(&context.join("hello")) {
        let built = kiln.output(&build);
        assert!(built.status.success(), "{}", show(&built));
        assert!(text(&built.stderr).contains("hello from arm64"), "{}", show(&built));
        assert_eq!(
            kiln.ok(&["run", "--rm", "--network", "none", "--platform", "linux/arm64", "hello"]),
            "hello from arm64"
        );
        return;
    }
    let said = kiln.fails(1, &build);
    for part in [
        "the program is for `linux/arm64`, and this machine is `linux/amd64`",
        "hint: an emulator is registered on Debian and Ubuntu by `apt-get install qemu-user-static",
        "Dockerfile:3",
        ">>> RUN [\"/hello\"]",
    ] {
        assert!(said.contains(part), "no `{part}` in\n{said}");
    }
    assert!(!said.contains("exec format error"), "{said}");

    let dockerfile = "FROM debian:bookworm\nCOPY hello /hello\nRUN /hello\n";
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let said = kiln.fails(1, &["build", "--progress", "plain", path]);
    assert!(said.contains("hint: the step executes a file that is no program for `linux/amd64`"), "{said}");

    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY hello /hello\nCMD [\"/hello\"]\n").unwrap();
    kiln.build("hello", &context, &["--platform", "linux/arm64"]);
    let run = ["run", "--rm", "--network", "none", "--platform", "linux/arm64", "hello"];
    let said = kiln.fails(126, &run);
    assert!(
        said.contains("the program is for `linux/arm64`") && said.contains("hint: an emulator"),
        "{said}"
    );
}
