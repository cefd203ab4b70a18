//! Debian from the loopback registry.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::figure::{Figure, timed};
use super::report::Unit::Milliseconds;
use super::{Bench, Who, Work};
use crate::field::settle;
use crate::peers::{Kind, Peer};

const IMAGE: &str = "debian:bookworm";

pub(super) const WORK: &[Work] = &[Work {
    name: "pull: Debian from the loopback registry, verified and unpacked",
    goal: 800.0,
    unit: Milliseconds,
    measure: |bench, who| match who {
        Who::Kiln => Some(kiln(bench)),
        Who::Peer(peer) => peer_pull(peer, bench.runs),
    },
}];

/// How long a pull takes on a disk that has nothing else to do: what earlier ones wrote is written.
fn timed_pull(command: &mut Command) -> Result<Duration> {
    settle()?;
    timed(command)
}

fn kiln(bench: &Bench<'_>) -> Result<Figure> {
    // A fresh root each time: nothing of an earlier run is there, and nothing is deleted before.
    Figure::times(bench.runs, |number| {
        timed_pull(&mut bench.field.command(&format!("pull-{number}"), &["pull", "-q", IMAGE]))
    })
}

fn peer_pull(peer: &Peer, runs: usize) -> Option<Result<Figure>> {
    let image = peer.image(IMAGE);
    match peer.kind {
        Kind::BuildKit => Some(Figure::times(runs, |_| {
            // Removing also deletes the layers; there is no other image with them.
            let _ = peer.command(&["rmi", "-f", &image]).output();
            timed_pull(&mut peer.command(&["pull", "-q", &image]))
        })),
        Kind::Podman | Kind::Buildah => Some(Figure::times(runs, |n| {
            let root = peer.folder().join(format!("pull-{n}"));
            let mut command = Command::new(if peer.kind == Kind::Podman { "podman" } else { "buildah" });
            command.arg("--root").arg(root).arg("--runroot").arg(peer.folder().join("pull-run"));
            let arguments = ["--storage-driver", "overlay", "pull", "-q", "--tls-verify=false", &image];
            timed_pull(command.args(arguments))
        })),
        Kind::Classic | Kind::Runc => None,
    }
}
