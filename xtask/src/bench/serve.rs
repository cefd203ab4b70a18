//! The daemon: its first answer, its memory, and many clients at once.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::figure::{Figure, millis};
use super::report::Unit::{Megabytes, Milliseconds};
use super::{Bench, Who, Work};

/// Clients at once, and what each builds one after the other.
const CLIENTS: usize = 100;
const BUILDS: usize = 10;
/// Builds at once after which the memory is looked at, and when.
const AT_ONCE: usize = 32;
const REST: Duration = Duration::from_secs(30);
/// How long the daemon may take to begin.
const BEGIN: Duration = Duration::from_secs(10);
/// The header of a file in a tar, and what files are filled up to.
const BLOCK: usize = 512;

pub(super) const WORK: &[Work] = &[
    Work {
        name: "serve: from the start of the daemon to its first answer",
        goal: 50.0,
        unit: Milliseconds,
        measure: |bench, who| of_kiln(bench, who, first_answer),
    },
    Work {
        name: "serve: resident memory of a daemon that was asked nothing",
        goal: 15.0,
        unit: Megabytes,
        measure: |bench, who| of_kiln(bench, who, idle),
    },
    Work {
        name: "serve: resident memory half a minute after 32 builds at once",
        goal: 60.0,
        unit: Megabytes,
        measure: |bench, who| of_kiln(bench, who, after_builds),
    },
    Work {
        name: "serve: 100 clients and 1,000 builds, none lost",
        goal: 60_000.0,
        unit: Milliseconds,
        measure: |bench, who| of_kiln(bench, who, many),
    },
];

fn of_kiln(
    bench: &Bench<'_>,
    who: Who<'_>,
    measure: fn(&Bench<'_>) -> Result<Figure>,
) -> Option<Result<Figure>> {
    matches!(who, Who::Kiln).then(|| measure(bench))
}

fn first_answer(bench: &Bench<'_>) -> Result<Figure> {
    Figure::times(bench.runs, |_| {
        let start = Instant::now();
        Daemon::start(bench)?;
        Ok(start.elapsed())
    })
}

fn idle(bench: &Bench<'_>) -> Result<Figure> {
    let daemon = Daemon::start(bench)?;
    thread::sleep(Duration::from_secs(2));
    Figure::of(vec![daemon.resident()?])
}

fn after_builds(bench: &Bench<'_>) -> Result<Figure> {
    Who::Kiln.have(bench.field, "busybox")?;
    let daemon = Daemon::start(bench)?;
    let text = |build: usize| format!("FROM busybox\nRUN echo {build} {} > /f\n", std::process::id());
    daemon.at_once(AT_ONCE, |client| daemon.build(&text(client)))?;
    thread::sleep(REST);
    Figure::of(vec![daemon.resident()?])
}

fn many(bench: &Bench<'_>) -> Result<Figure> {
    let daemon = Daemon::start(bench)?;
    let start = Instant::now();
    let pid = std::process::id();
    daemon.at_once(CLIENTS, |client| {
        let text = |build| format!("FROM scratch\nCOPY Dockerfile /{pid}-{client}-{build}\n");
        (0..BUILDS).try_for_each(|build| daemon.build(&text(build)))
    })?;
    Figure::of(vec![millis(start.elapsed())])
}

/// A daemon, which ends with the value.
struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    /// Begins one, and waits for its first answer.
    fn start(bench: &Bench<'_>) -> Result<Daemon> {
        let socket = bench.field.folder("run")?.join("kiln.sock");
        let address = format!("unix://{}", socket.display());
        let mut command = bench.field.command("state", &["serve", "--addr", &address]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let daemon = Daemon { child, socket };
        let begun = Instant::now();
        while daemon.ask("GET /_ping", &[]).is_err() {
            if begun.elapsed() > BEGIN {
                bail!("the daemon does not answer");
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(daemon)
    }

    /// What is answered to a request with a body.
    fn ask(&self, line: &str, body: &[u8]) -> Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        let length = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: kiln\r\nConnection: close\r\nContent-Type: application/x-tar\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Builds a Dockerfile that is alone in its context.
    fn build(&self, dockerfile: &str) -> Result<()> {
        let answer = self.ask("POST /build", &tar(dockerfile))?;
        match answer.contains("Successfully built") {
            true => Ok(()),
            false => bail!("a build was lost: {}", answer.lines().last().unwrap_or_default()),
        }
    }

    /// Does `work` for each of `count` clients at the same time.
    fn at_once(&self, count: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        let done = thread::scope(|scope| {
            let clients: Vec<_> = (0..count)
                .map(|client| {
                    scope.spawn({
                        let work = &work;
                        move || work(client)
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join()).collect::<Vec<_>>()
        });
        done.into_iter().try_for_each(|client| client.unwrap_or_else(|_| bail!("a client broke off")))
    }

    /// Its memory in megabytes.
    fn resident(&self) -> Result<f64> {
        let path = Path::new("/proc").join(self.child.id().to_string()).join("status");
        let text = std::fs::read_to_string(path)?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no `VmRSS`")?;
        let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes * 1024.0 / 1e6)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // What is measured is over; nothing it did is needed any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tar of a Dockerfile (POSIX ustar).
fn tar(dockerfile: &str) -> Vec<u8> {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "Dockerfile");
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", dockerfile.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let filled = dockerfile.len().next_multiple_of(BLOCK);
    let mut tar = [&header[..], dockerfile.as_bytes()].concat();
    tar.resize(BLOCK + filled + 2 * BLOCK, 0);
    tar
}
