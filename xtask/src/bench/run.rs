//! A container from `run` to its end.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::build::LIMITS;
use super::figure::{Figure, timed};
use super::report::Unit::Milliseconds;
use super::{Bench, Who, Work};
use crate::field::Field;
use crate::peers::{Kind, Peer};

pub(super) const WORK: &[Work] = &[
    Work {
        name: "run: run --rm --network none busybox true, exec to exit",
        goal: 10.0,
        unit: Milliseconds,
        measure: |bench, who| match who {
            Who::Kiln => Some(kiln(bench, "none")),
            Who::Peer(peer) => peer_run(bench, peer),
        },
    },
    Work {
        name: "bridge: run --rm busybox true with the bridge, exec to exit",
        goal: 15.0,
        unit: Milliseconds,
        measure: |bench, who| matches!(who, Who::Kiln).then(|| kiln(bench, "bridge")),
    },
];

fn kiln(bench: &Bench<'_>, network: &str) -> Result<Figure> {
    Who::Kiln.have(bench.field, "busybox")?;
    let arguments = ["run", "--rm", "--network", network, "busybox", "true"];
    Figure::times(bench.runs * 4, |_| timed(&mut bench.field.command("state", &arguments)))
}

fn peer_run(bench: &Bench<'_>, peer: &Peer) -> Option<Result<Figure>> {
    let image = peer.image("busybox:latest");
    let quiet = ["run", "--rm", "--network", "none"];
    let (pull, arguments) = match peer.kind {
        Kind::Classic => (vec!["pull", "-q", &image], [&quiet[..], &[&image, "true"]].concat()),
        Kind::Podman => (
            vec!["pull", "-q", "--tls-verify=false", &image],
            [&quiet[..], &LIMITS, &[&image, "true"]].concat(),
        ),
        Kind::Runc => return Some(runc(bench.field, peer, bench.runs)),
        Kind::BuildKit | Kind::Buildah => return None,
    };
    Some(peer.must(&pull).and_then(|()| Figure::times(bench.runs, |_| timed(&mut peer.command(&arguments)))))
}

/// `runc run` alone, on a bundle of the same root filesystem.
fn runc(field: &Field, peer: &Peer, runs: usize) -> Result<Figure> {
    let rootfs = field.folder("runc-bundle/rootfs")?;
    fs::create_dir_all(rootfs.join("bin"))?;
    fs::copy("/bin/busybox", rootfs.join("bin/true"))?;
    let bundle = field.folder("runc-bundle")?;
    let spec = bundle.join("config.json");
    let _ = fs::remove_file(&spec);
    peer.must(&["spec", "--bundle", path(&bundle)])?;
    let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&spec)?)?;
    value["process"]["args"] = serde_json::json!(["/bin/true"]);
    value["process"]["terminal"] = false.into();
    value["process"]["rlimits"] = serde_json::json!([]);
    fs::write(&spec, serde_json::to_vec(&value)?)?;
    Figure::times(runs * 4, |n| {
        timed(&mut peer.command(&["run", "--bundle", path(&bundle), &format!("bench-{n}")]))
    })
}

fn path(folder: &Path) -> &str {
    folder.to_str().unwrap_or_default()
}
