//! `kiln buildctl …`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use kiln_engine::{Error, ErrorKind, Result};
use kiln_service::buildkit::{self, Worker};
use serde_json::{Value, json};

use super::OK;
use crate::app::block_on;
use crate::args::buildctl::{BuildctlArgs, DebugGroup, Group, WorkersArgs};
use crate::listing::table;
use crate::template::Template;
use crate::values::wrong;
use crate::{terminal, text};

/// Where buildkitd listens, and which variable says otherwise.
const SOCKET: &str = "unix:///run/buildkit/buildkitd.sock";
const VARIABLE: &str = "BUILDKIT_HOST";
/// What is handed on at once.
const PIECE: usize = 64 << 10;

pub(super) fn run(args: &BuildctlArgs) -> Result<u8> {
    if args.version {
        return terminal::say(&buildkit::version_line("buildctl")).map(|()| OK);
    }
    let variable = || std::env::var(VARIABLE).ok().filter(|address| !address.is_empty());
    let address = args.addr.clone().or_else(variable).unwrap_or_else(|| SOCKET.to_owned());
    let socket = socket(&address)?;
    let patience = Duration::from_secs(args.timeout);
    match &args.command {
        None => {
            Err(Error::invalid("`buildctl` needs a command")
                .with_hint("kiln has `dial-stdio` and `debug` of it"))
        }
        Some(Group::DialStdio(_)) => dial_stdio(&socket).map(|()| OK),
        Some(Group::Debug(debug)) => match &debug.command {
            DebugGroup::Workers(args) => {
                let workers = block_on(async move { buildkit::workers(&socket, patience).await })?;
                show(&workers, args).map(|()| OK)
            }
            DebugGroup::Info(_) => {
                let version = block_on(async move { buildkit::info(&socket, patience).await })?;
                terminal::say(&format!("BuildKit: {}", version.join(" "))).map(|()| OK)
            }
        },
    }
}

fn socket(address: &str) -> Result<PathBuf> {
    match address.strip_prefix("unix://") {
        Some(path) => Ok(PathBuf::from(path)),
        None => wrong("--addr", address, "a daemon is asked on its socket here, `unix://PATH`"),
    }
}

/// Hands on what comes on either side, until the daemon has said all.
fn dial_stdio(socket: &Path) -> Result<()> {
    let fail = |error: io::Error| {
        let message = format!("cannot connect to `unix://{}`", socket.display());
        Error::new(ErrorKind::Unavailable, message).caused_by(error)
    };
    let mut stream = UnixStream::connect(socket).map_err(fail)?;
    let mut writing = stream.try_clone().map_err(fail)?;
    // Files, because the standard streams of the library keep back what is no whole line.
    let own = |descriptor: io::Result<_>| descriptor.map(File::from).map_err(fail);
    let mut input = own(io::stdin().as_fd().try_clone_to_owned())?;
    let mut output = own(io::stdout().as_fd().try_clone_to_owned())?;
    // It is not waited for: the other end may never close ours.
    thread::spawn(move || {
        let _ = hand_on(&mut input, &mut writing);
        let _ = writing.shutdown(Shutdown::Write);
    });
    hand_on(&mut stream, &mut output).map_err(|error| Error::internal("hand on what the daemon says", error))
}

/// Writes whatever comes as it comes. The library's copy would have the kernel move it (splice), which keeps the pipe locked for
/// its reader while it waits for more of the socket.
fn hand_on(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn show(workers: &[Worker], args: &WorkersArgs) -> Result<()> {
    match args.format.as_deref() {
        Some("json" | "{{json .}}") => {
            terminal::say(&Value::Array(workers.iter().map(json).collect()).to_string())
        }
        Some(template) => {
            let all = Value::Array(workers.iter().map(fields).collect());
            terminal::say(&Template::parse(template)?.fill(&all)?)
        }
        None if args.verbose => workers.iter().try_for_each(|worker| terminal::print(&verbose(worker))),
        None => {
            let titles = vec!["ID".to_owned(), "PLATFORMS".to_owned()];
            let rows = workers.iter().map(|worker| vec![worker.id.clone(), platforms(worker)]);
            terminal::print(&table(std::iter::once(titles).chain(rows).collect()))
        }
    }
}

fn platforms(worker: &Worker) -> String {
    worker.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn labels(worker: &Worker) -> Value {
    worker.labels.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
}

/// The names that BuildKit's JSON has.
fn json(worker: &Worker) -> Value {
    let [package, version, revision] = &worker.version;
    json!({
        "id": worker.id, "labels": labels(worker), "platforms": worker.platforms,
        "buildkitVersion": { "package": package, "version": version, "revision": revision },
    })
}

/// The names that templates for BuildKit's `buildctl` use.
fn fields(worker: &Worker) -> Value {
    let [package, version, revision] = &worker.version;
    json!({
        "ID": worker.id, "Labels": labels(worker), "Platforms": worker.platforms,
        "BuildkitVersion": { "Package": package, "Version": version, "Revision": revision },
    })
}

fn verbose(worker: &Worker) -> String {
    let Worker { id, labels, version, .. } = worker;
    let labels: String = labels.iter().map(|(key, value)| format!("\t{key}:\t{value}\n")).collect();
    let (platforms, version) = (platforms(worker), version.join(" "));
    let all = format!("ID:\t{id}\nPlatforms:\t{platforms}\nBuildKit:\t{version}\nLabels:\n{labels}\n");
    text::neutral(&all).into_owned()
}
