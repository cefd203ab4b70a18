//! Plans as text, compared with the files in `testdata/plans`. `KILN_BLESS=1` writes them anew.

mod common;

use common::{Image, bind};
use kiln_runtime::{MountKind, NetworkSetup, Propagation, RunSpec, UserMount, plan};

fn check(name: &str, spec: &RunSpec) {
    let text = plan::of(spec, plan::Resolved::preview(spec)).unwrap().to_string();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/plans").join(name);
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "plan `{name}` differs; now it is:\n{text}");
}

#[test]
fn a_build_step() {
    let mut spec = Image::new().spec(&["/bin/sh", "-c", "make"]);
    spec.network = NetworkSetup::Host;
    spec.process.cwd = "/src".into();
    spec.etc.resolv_conf = Some("/run/resolv.conf".into());
    spec.etc.hosts = Some("/run/hosts".into());
    check("build-step.txt", &spec);
}

#[test]
fn a_terminal_with_mounts() {
    let mut spec = Image::new().spec(&["sh"]);
    spec.process.tty = true;
    spec.process.user = "1000:1000".into();
    spec.readonly_rootfs = true;
    spec.security.no_new_privileges = true;
    spec.mounts.push(bind("/srv/data".as_ref(), "/data", true));
    spec.mounts.push(UserMount {
        kind: MountKind::Tmpfs { size: Some(65536), mode: Some(0o700), exec: false },
        target: "/scratch".into(),
        readonly: false,
        propagation: Propagation::Private,
    });
    check("terminal.txt", &spec);
}

#[test]
fn specs_are_valid() {
    let spec = Image::new().spec(&["sh"]);
    let oci = kiln_runtime::spec::of(&spec, 0, 0).unwrap();
    assert_eq!(oci.hostname().as_deref(), Some("box"));
    let process = oci.process().as_ref().unwrap();
    assert_eq!(process.args().as_ref().unwrap(), &["sh"]);
    assert_eq!(process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap().len(), 14);
    assert_eq!(oci.linux().as_ref().unwrap().namespaces().as_ref().unwrap().len(), 6);
}
