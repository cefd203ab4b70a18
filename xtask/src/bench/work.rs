//! The pieces of work, each by kiln and by those peers that can do it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{Row, Unit};
use crate::field::{Field, run, settle};
use crate::peers::{Kind, Peer};

const STEPS: u32 = 30;

/// A measured piece of work.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    Steps { cached: bool },
    Run { bridge: bool },
    Pull,
    Memory,
}

/// All of them, in the order of the report.
pub(crate) fn all() -> Vec<Work> {
    vec![
        Work::Steps { cached: false },
        Work::Steps { cached: true },
        Work::Run { bridge: false },
        Work::Run { bridge: true },
        Work::Pull,
        Work::Memory,
    ]
}

impl Work {
    pub(crate) fn name(self) -> String {
        match self {
            Work::Steps { cached: false } => {
                format!("steps: {STEPS} x RUN echo on busybox, nothing cached, a step")
            }
            Work::Steps { cached: true } => format!("cached: {STEPS} x RUN echo, all cached, whole command"),
            Work::Run { bridge: false } => {
                "run: run --rm --network none busybox true, exec to exit".to_owned()
            }
            Work::Run { bridge: true } => {
                "bridge: run --rm busybox true with the bridge, exec to exit".to_owned()
            }
            Work::Pull => "pull: Debian from the loopback registry, verified and unpacked".to_owned(),
            Work::Memory => "memory: largest resident size of kiln build of the steps".to_owned(),
        }
    }

    fn goal(self) -> (f64, Unit) {
        match self {
            Work::Steps { cached: false } => (5.0, Unit::Milliseconds),
            Work::Steps { cached: true } | Work::Run { bridge: false } => (10.0, Unit::Milliseconds),
            Work::Run { bridge: true } => (15.0, Unit::Milliseconds),
            Work::Pull => (800.0, Unit::Milliseconds),
            Work::Memory => (60.0, Unit::Megabytes),
        }
    }

    pub(crate) fn measure(self, field: &Field, peers: &[Peer], runs: usize) -> Result<Row> {
        let ours = match self {
            Work::Steps { cached } => kiln_steps(field, cached, runs).map(millis),
            Work::Run { bridge } => kiln_run(field, bridge, runs).map(millis),
            Work::Pull => kiln_pull(field, runs).map(millis),
            Work::Memory => kiln_memory(field),
        };
        let mut figures = vec![("kiln".to_owned(), ours)];
        for peer in peers {
            let theirs = match self {
                Work::Steps { cached } => peer_steps(field, peer, cached, runs),
                Work::Run { bridge: false } => peer_run(field, peer, runs),
                Work::Pull => peer_pull(peer, runs),
                Work::Run { bridge: true } | Work::Memory => None,
            };
            figures.extend(theirs.map(|time| (peer.kind.name().to_owned(), time.map(millis))));
        }
        let (goal, unit) = self.goal();
        Ok(Row { work: self.name(), goal, unit, figures })
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The median of `runs` timings after one that does not count.
fn median(runs: usize, mut once: impl FnMut(usize) -> Result<Duration>) -> Result<Duration> {
    let mut times = (0..=runs).map(&mut once).skip(1).collect::<Result<Vec<_>>>()?;
    times.sort();
    times.get(times.len() / 2).copied().context("no run was counted")
}

/// How long a pull takes on a disk that has nothing else to do: what earlier ones wrote is written.
fn timed_pull(command: &mut Command) -> Result<Duration> {
    settle()?;
    timed(command)
}

fn timed(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    run(command)?;
    Ok(start.elapsed())
}

/// A context whose Dockerfile has the steps; `salt` makes them new.
fn steps_context(field: &Field, base: &str, salt: &str) -> Result<PathBuf> {
    let folder = field.folder(&format!("context-{salt}"))?;
    let steps: String = (0..STEPS).map(|n| format!("RUN echo {salt}{n} > /f{n}\n")).collect();
    fs::write(folder.join("Dockerfile"), format!("FROM {base}\n{steps}"))?;
    Ok(folder)
}

fn path(folder: &Path) -> &str {
    folder.to_str().unwrap_or_default()
}

fn kiln_steps(field: &Field, cached: bool, runs: usize) -> Result<Duration> {
    run(&mut field.command("state", &["pull", "-q", "busybox"]))?;
    let build = |salt: &str| -> Result<Duration> {
        let context = steps_context(field, "busybox", salt)?;
        timed(&mut field.command("state", &["build", "--progress", "plain", "-t", "steps", path(&context)]))
    };
    if cached {
        return median(runs, |_| build("kiln-cached"));
    }
    Ok(median(runs, |n| build(&format!("kiln-{n}-")))? / STEPS)
}

fn peer_steps(field: &Field, peer: &Peer, cached: bool, runs: usize) -> Option<Result<Duration>> {
    let base = peer.image("busybox:latest");
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];
    let arguments: Vec<&str> = match peer.kind {
        Kind::BuildKit | Kind::Classic => vec!["build", "--network", "none", "-t", "steps"],
        Kind::Buildah => {
            [&["bud", "--layers", "--tls-verify=false", "--network", "none", "-t", "steps"], &limits[..]]
                .concat()
        }
        Kind::Podman | Kind::Runc => return None,
    };
    let build = |salt: &str| -> Result<Duration> {
        let context = steps_context(field, &base, salt)?;
        timed(
            peer.command(&[&arguments[..], &["--", path(&context)]].concat())
                .env("BUILDAH_ISOLATION", "chroot"),
        )
    };
    Some((|| {
        if matches!(peer.kind, Kind::BuildKit | Kind::Classic) {
            peer.must(&["pull", "-q", &base])?;
        }
        if cached {
            return median(runs, |_| build(&format!("{:?}-cached", peer.kind.name().len())));
        }
        let name = peer.kind.name().len();
        Ok(median(runs.min(3), |n| build(&format!("{name}-{n}-")))? / STEPS)
    })())
}

fn kiln_run(field: &Field, bridge: bool, runs: usize) -> Result<Duration> {
    run(&mut field.command("state", &["pull", "-q", "busybox"]))?;
    let network = if bridge { "bridge" } else { "none" };
    median(runs * 4, |_| {
        timed(&mut field.command("state", &["run", "--rm", "--network", network, "busybox", "true"]))
    })
}

fn peer_run(field: &Field, peer: &Peer, runs: usize) -> Option<Result<Duration>> {
    let image = peer.image("busybox:latest");
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];
    let quiet = ["run", "--rm", "--network", "none"];
    match peer.kind {
        Kind::Classic => Some((|| {
            peer.must(&["pull", "-q", &image])?;
            median(runs, |_| timed(&mut peer.command(&[&quiet[..], &[&image, "true"]].concat())))
        })()),
        Kind::Podman => Some((|| {
            peer.must(&["pull", "-q", "--tls-verify=false", &image])?;
            median(runs, |_| timed(&mut peer.command(&[&quiet[..], &limits, &[&image, "true"]].concat())))
        })()),
        Kind::Runc => Some(runc_run(field, peer, runs)),
        Kind::BuildKit | Kind::Buildah => None,
    }
}

/// `runc run` alone, on a bundle of the same root filesystem.
fn runc_run(field: &Field, peer: &Peer, runs: usize) -> Result<Duration> {
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
    median(runs * 4, |n| timed(&mut peer.command(&["run", "--bundle", path(&bundle), &format!("bench-{n}")])))
}

fn kiln_pull(field: &Field, runs: usize) -> Result<Duration> {
    // A fresh root each time: nothing of an earlier run is there, and nothing is deleted before.
    median(runs, |n| {
        let state = format!("pull-{}-{n}", std::process::id());
        timed_pull(&mut field.command(&state, &["pull", "-q", "debian:bookworm"]))
    })
}

fn peer_pull(peer: &Peer, runs: usize) -> Option<Result<Duration>> {
    let image = peer.image("debian:bookworm");
    match peer.kind {
        Kind::BuildKit => Some(median(runs, |_| {
            // Removing also deletes the layers; there is no other image with them.
            let _ = peer.command(&["rmi", "-f", &image]).output();
            timed_pull(&mut peer.command(&["pull", "-q", &image]))
        })),
        Kind::Podman | Kind::Buildah => Some(median(runs, |n| {
            let root = peer.folder().join(format!("pull-{n}"));
            let mut command = Command::new(if peer.kind == Kind::Podman { "podman" } else { "buildah" });
            command.arg("--root").arg(root).arg("--runroot").arg(peer.folder().join("pull-run"));
            timed_pull(command.args([
                "--storage-driver",
                "overlay",
                "pull",
                "-q",
                "--tls-verify=false",
                &image,
            ]))
        })),
        Kind::Classic | Kind::Runc => None,
    }
}

/// The high-water mark of a build's resident memory, in megabytes.
fn kiln_memory(field: &Field) -> Result<f64> {
    let context = steps_context(field, "busybox", "memory-")?;
    let mut command = field.command("state", &["build", "--no-cache", "-t", "steps", path(&context)]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut peak = 0;
    while child.try_wait()?.is_none() {
        peak = peak.max(high_water_kib(child.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(peak as f64 * 1024.0 / 1e6)
}

fn high_water_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.parse().ok()
}
