//! How each builder is told to build a context, and to push what came out.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Bench, Who};
use crate::field::{Field, run};
use crate::peers::{Kind, Peer};

/// What containers of buildah need where limits of the machine are low.
pub(super) const LIMITS: [&str; 4] = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];

/// The network of a peer's RUN steps; kiln's have the bridge.
#[derive(Clone, Copy)]
pub(super) enum Network {
    None,
    Host,
}

impl Who<'_> {
    /// Whether it builds images from layers that it remembers.
    pub(super) fn builds(self) -> bool {
        match self {
            Who::Kiln => true,
            Who::Peer(peer) => matches!(peer.kind, Kind::BuildKit | Kind::Buildah),
        }
    }

    /// What it calls an image of the registry with the base images.
    pub(super) fn base(self, name: &str) -> String {
        match self {
            Who::Kiln => name.to_owned(),
            Who::Peer(peer) => {
                peer.image(&format!("{name}{}", if name.contains(':') { "" } else { ":latest" }))
            }
        }
    }

    /// Has a base image in the store, so that no build waits for it.
    pub(super) fn have(self, field: &Field, name: &str) -> Result<()> {
        match self {
            Who::Kiln => run(&mut field.command("state", &["pull", "-q", name])),
            Who::Peer(peer) if matches!(peer.kind, Kind::BuildKit | Kind::Classic) => {
                peer.must(&["pull", "-q", &self.base(name)])
            }
            Who::Peer(peer) => peer.must(&["pull", "-q", "--tls-verify=false", &self.base(name)]),
        }
    }

    /// Builds `context` as `tag`, by kiln on the state root `state`.
    pub(super) fn build(self, field: &Field, state: &str, tag: &str, context: &Path) -> Command {
        self.build_with(field, state, tag, context, Network::None)
    }

    /// The same with a network of choice.
    pub(super) fn build_with(
        self,
        field: &Field,
        state: &str,
        tag: &str,
        context: &Path,
        network: Network,
    ) -> Command {
        let network = match network {
            Network::None => "none",
            Network::Host => "host",
        };
        let mut command = match self {
            Who::Kiln => field.command(state, &["build", "--progress", "plain", "-t", tag]),
            Who::Peer(peer) if peer.kind == Kind::Buildah => buildah(peer, network, tag),
            Who::Peer(peer) => {
                let mut command = peer.command(&["build", "--network", network, "-t", tag]);
                command.env("BUILDKIT_PROGRESS", "plain");
                command
            }
        };
        command.arg("--").arg(context);
        command
    }

    /// Pushes `tag`.
    pub(super) fn push(self, field: &Field, state: &str, tag: &str) -> Command {
        match self {
            Who::Kiln => field.command(state, &["push", "-q", tag]),
            Who::Peer(peer) if peer.kind == Kind::Buildah => {
                peer.command(&["push", "-q", "--tls-verify=false", tag, &format!("docker://{tag}")])
            }
            Who::Peer(peer) => peer.command(&["push", "-q", tag]),
        }
    }

    /// The commands by which somebody who has `context` gets `tag` to its registry.
    pub(super) fn build_and_push(self, field: &Field, tag: &str, context: &Path) -> Vec<Command> {
        self.build_and_push_with(field, "state", tag, context, Network::None)
    }

    /// The same on the state root `state`, with a network of choice.
    pub(super) fn build_and_push_with(
        self,
        field: &Field,
        state: &str,
        tag: &str,
        context: &Path,
        network: Network,
    ) -> Vec<Command> {
        match self {
            Who::Kiln => {
                let mut build = field.command(state, &["build", "--push", "--progress", "plain", "-t", tag]);
                build.arg("--").arg(context);
                vec![build]
            }
            Who::Peer(_) => {
                let mut build = self.build_with(field, state, tag, context, network);
                build.stdin(std::process::Stdio::null());
                vec![build, self.push(field, state, tag)]
            }
        }
    }
}

impl Bench<'_> {
    /// A name at the registry for pushes that only `who` uses.
    pub(super) fn tag(&self, who: Who<'_>, name: &str) -> String {
        let who: String = who.name().chars().filter(char::is_ascii_alphanumeric).collect();
        format!("{}/{}/{name}", self.registry.address(), who.to_lowercase())
    }
}

fn buildah(peer: &Peer, network: &str, tag: &str) -> Command {
    let mut command =
        peer.command(&["bud", "--layers", "--tls-verify=false", "--network", network, "-t", tag]);
    command.args(LIMITS).env("BUILDAH_ISOLATION", "chroot");
    command
}
