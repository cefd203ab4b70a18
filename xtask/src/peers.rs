//! The peers from Debian's packages: Docker's engine (classic builder and BuildKit), buildah, podman and runc.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::field::{Field, run};

/// A peer that the machine has.
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    folder: PathBuf,
    registry: String,
    _daemon: Option<Daemon>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    BuildKit,
    Classic,
    Buildah,
    Podman,
    Runc,
}

/// A daemon that ends with its value.
pub(crate) struct Daemon(pub(crate) Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Those that can be used; the others are named with the reason.
pub(crate) fn present(field: &Field) -> Vec<Peer> {
    let kinds = [Kind::BuildKit, Kind::Classic, Kind::Buildah, Kind::Podman, Kind::Runc];
    let mut found = Vec::new();
    for kind in kinds {
        match Peer::open(kind, field) {
            Ok(peer) => found.push(peer),
            Err(error) => println!("peer left out: {}: {error:#}", kind.name()),
        }
    }
    found
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::BuildKit => "docker.io, BuildKit",
            Kind::Classic => "docker.io, classic",
            Kind::Buildah => "buildah",
            Kind::Podman => "podman",
            Kind::Runc => "runc",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Kind::BuildKit | Kind::Classic => "dockerd",
            Kind::Buildah => "buildah",
            Kind::Podman => "podman",
            Kind::Runc => "runc",
        }
    }
}

impl Peer {
    /// Starts what it needs; an error says why it cannot be used.
    pub(crate) fn open(kind: Kind, field: &Field) -> Result<Peer> {
        Command::new(kind.program())
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .with_context(|| format!("Debian's package with `{}` is not installed", kind.program()))?;
        let folder = field.folder(&format!("peer-{}", kind.name().replace([' ', ',', '.'], "-")))?;
        let registry = field.registry()?;
        let daemon = match kind {
            Kind::BuildKit | Kind::Classic => Some(dockerd(&folder, &registry)?),
            _ => None,
        };
        Ok(Peer { kind, folder, registry, _daemon: daemon })
    }

    /// The client with its state in this peer's folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let at = |name: &str| self.folder.join(name);
        let mut command;
        match self.kind {
            Kind::BuildKit | Kind::Classic => {
                // Debian's own client where another stands before it in the path.
                let client = ["/usr/bin/docker", "docker"].into_iter().find(|p| std::fs::metadata(p).is_ok());
                command = Command::new(client.unwrap_or("docker"));
                command.env("DOCKER_BUILDKIT", if self.kind == Kind::BuildKit { "1" } else { "0" });
                command.arg("--host").arg(format!("unix://{}", at("docker.sock").display()));
            }
            Kind::Buildah | Kind::Podman => {
                command = Command::new(self.kind.program());
                command.arg("--root").arg(at("root")).arg("--runroot").arg(at("run"));
                command.args(["--storage-driver", "overlay"]);
                if self.kind == Kind::Podman {
                    command.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs"]);
                }
            }
            Kind::Runc => {
                command = Command::new("runc");
                command.arg("--root").arg(at("run"));
            }
        }
        command.args(args);
        command
    }

    /// How the peer names an image of the local registry.
    pub(crate) fn image(&self, name: &str) -> String {
        match self.kind {
            Kind::BuildKit | Kind::Classic => format!("{}/library/{name}", self.registry),
            _ => format!("docker://{}/library/{name}", self.registry),
        }
    }

    /// A folder of the peer's.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn must(&self, args: &[&str]) -> Result<()> {
        run(&mut self.command(args))
    }
}

/// Docker's engine with nothing of the host's network touched.
fn dockerd(folder: &Path, registry: &str) -> Result<Daemon> {
    let at = |name: &str| folder.join(name).display().to_string();
    let child = Command::new("dockerd")
        .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
        .args(["--host", &format!("unix://{}", at("docker.sock"))])
        .args(["--bridge", "none", "--iptables=false", "--ip6tables=false", "--insecure-registry", registry])
        .args(["--storage-driver", "overlay2"])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("log"))?)
        .spawn()
        .context("cannot start dockerd")?;
    let daemon = Daemon(child);
    wait_for_socket(&folder.join("docker.sock"), &folder.join("log"))?;
    Ok(daemon)
}

/// Waits until a daemon listens; an error has the last line of its log.
pub(crate) fn wait_for_socket(socket: &Path, log: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while UnixStream::connect(socket).is_err() {
        if Instant::now() > deadline {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            bail!("nobody answers at {}: {}", socket.display(), log.lines().last().unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
