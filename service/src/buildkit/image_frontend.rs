//! Frontends that are images (`gateway.v0`, `# syntax=IMAGE`): the image's program runs in a container of the build, with its
//! own filesystem, and calls `LLBBridge` on its standard input and output.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bollard_buildkit_proto::pb;
use kiln_engine::attach::{Attach, AttachInput, AttachOutput, Stream};
use kiln_engine::build::{BuildProcess, FoundImage, GraphTarget, Prepared, Secrets, SessionError};
use kiln_engine::oci::Platform;
use kiln_engine::{Error, Result, boolean};
use kiln_graph::{Definition, ExecOp, Mount, Network, Op, SourceOp, VertexMeta};
use prost::Message as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tonic::Status;

use super::gateway::{Caller, Returned, make_container};
use super::offer::Nobody;
use super::solve::Work;
use super::{Options, Server, errors, workers};

/// How deep frontends may ask for frontends, and how many may run at once in one build.
const MAX_FRONTENDS: u32 = 8;
/// Labels of a frontend's image.
const NO_NETWORK: &str = "moby.buildkit.frontend.network.none";
const CAPABILITIES: &str = "moby.buildkit.frontend.caps";
/// The capability that inputs need, and the attribute by which a client asks for more of them.
const INPUTS: &str = "moby.buildkit.frontend.inputs";
const ASKED: &str = "frontend.caps";
/// What is run where the image does not say.
const PROGRAM: &str = "/run";
/// Where a frontend finds the graph that it is of.
const METADATA: &str = "/run/config/buildkit/metadata/frontend.bin";
/// Bytes that wait in each direction, bytes that are moved at once, and those of its log that go into an error.
const WINDOW: usize = 64 << 10;
const CHUNK: usize = 32 << 10;
const TAIL: usize = 4 << 10;

/// Runs the frontend `image`; what it returned.
pub(super) async fn run(
    server: &Arc<Server>,
    work: &Arc<Work>,
    image: &str,
    attributes: HashMap<String, String>,
    inputs: &HashMap<String, pb::Definition>,
) -> std::result::Result<Returned, Status> {
    let _place = Place::take(work)?;
    let told = |error: Error| errors::status(&error);
    let name = match attributes.get(&format!("context:{image}")) {
        None => image,
        Some(other) => other.strip_prefix("docker-image://").ok_or_else(|| {
            told(Error::not_implemented(format!("`{other}` as the context that is the frontend `{image}`")))
        })?,
    };
    let name = &work.rules.image(name).map_err(told)?;
    let shown = format!("resolve image config for docker-image://{name}");
    let sink = work.sink(Vec::new());
    let found = work.engine.find_image(name, &Platform::host(), false, (0, shown), sink.as_ref()).await;
    let found = found.map_err(told)?;
    check_capabilities(&found, &attributes, inputs)?;
    let gateway = work.job.gateway.part();
    gateway.open(work.clone(), inputs.clone());
    let caller = Caller { server: server.clone(), work: work.clone(), gateway: gateway.clone() };
    let ended = serve(&caller, &found, &attributes).await;
    let returned = gateway.take_returned();
    gateway.end_containers().await;
    gateway.close();
    match (ended, returned) {
        // What it said itself says more than how it ended.
        (_, Some(Err(status))) => Err(status),
        (Err(error), _) => Err(told(error)),
        (Ok(()), Some(Ok(returned))) => Ok(returned),
        (Ok(()), None) => Err(told(Error::invalid(format!("the frontend `{image}` returned no result")))),
    }
}

/// One of the frontends of a build that run at once.
struct Place(Arc<Work>);

impl Place {
    fn take(work: &Arc<Work>) -> std::result::Result<Place, Status> {
        let place = Place(work.clone());
        match work.frontends.fetch_add(1, Ordering::Relaxed) >= MAX_FRONTENDS {
            true => Err(Status::resource_exhausted(format!("more than {MAX_FRONTENDS} frontends at once"))),
            false => Ok(place),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.frontends.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A frontend says by a label what it can; one that cannot what is asked would leave it out silently.
fn check_capabilities(
    found: &FoundImage,
    attributes: &HashMap<String, String>,
    inputs: &HashMap<String, pb::Definition>,
) -> std::result::Result<(), Status> {
    let names = |text: &str| -> Vec<String> {
        let all = text.split(',').map(|name| name.split('+').next().unwrap_or_default().to_owned());
        all.filter(|name| !name.is_empty()).collect()
    };
    let label = found.config.config.labels.get(CAPABILITIES).map(String::as_str);
    let has = names(label.unwrap_or_default());
    let mut asked = names(attributes.get(ASKED).map(String::as_str).unwrap_or_default());
    asked.extend((!inputs.is_empty()).then(|| INPUTS.to_owned()));
    match asked.iter().find(|name| !has.contains(name)) {
        Some(name) => Err(Status::unimplemented(format!("unsupported frontend capability {name}"))),
        None => Ok(()),
    }
}

/// Runs the program to its end while its calls are answered.
async fn serve(caller: &Caller, found: &FoundImage, attributes: &HashMap<String, String>) -> Result<()> {
    let work = &caller.work;
    let (prepared, op, graph) = container(found)?;
    let mut request = work.fill(kiln_engine::build::BuildRequest::default());
    request.outside.secrets = Some(Arc::new(Metadata(graph)));
    let container = make_container(caller, op, &[(Arc::new(prepared), 0)], &request).await?;
    let process = process(caller, found, attributes);
    let container = Arc::new(container);
    let starting = container.clone();
    let started = tokio::task::spawn_blocking(move || starting.start(&process)).await;
    let Attach { input, output, mut exit } =
        started.map_err(|error| Error::internal("start a frontend", error))??;
    let (ours, theirs) = tokio::io::duplex(WINDOW);
    let (read, write) = tokio::io::split(theirs);
    let log = Arc::new(Log::default());
    let (runtime, kept) = (Handle::current(), log.clone());
    let feeding = runtime.clone();
    thread("frontend-in", move || feed(&feeding, read, input.as_ref()))?;
    thread("frontend-out", move || pass_on(&runtime, output, write, &kept))?;
    let (code, ended) = oneshot::channel();
    thread("frontend-end", move || {
        let waited = exit.wait();
        // The container is let go of before anybody hears of the end.
        drop(exit);
        let _ = code.send(waited);
    })?;
    let serving = tokio::spawn(super::gateway::serve(caller.clone(), ours));
    let ended = tokio::select! {
        ended = ended => ended.map_err(|error| Error::internal("wait for a frontend", error))?,
        () = work.job.cancel.cancelled() => {
            Err(Error::new(kiln_engine::ErrorKind::Cancelled, "the build was cancelled"))
        }
    };
    serving.abort();
    if let Some(container) = Arc::into_inner(container) {
        // Nothing is left to be done where the runtime ends.
        drop(tokio::task::spawn_blocking(move || container.end()).await);
    }
    match ended? {
        0 => Ok(()),
        code => Err(Error::invalid(format!("the frontend ended with exit code {code}{}", log.text()))),
    }
}

/// The graph of the image, the process over it, and the same graph in the words of the wire.
fn container(found: &FoundImage) -> Result<(Prepared, ExecOp, Vec<u8>)> {
    let platform = Platform::host();
    let reference = found.reference.clone();
    let name = format!("[internal] load frontend {reference}");
    let identifier = format!("docker-image://{reference}");
    let mut definition = Definition::new();
    let source = Op::Source(SourceOp::Image { reference, platform: platform.clone() });
    let root = definition.add(source, Vec::new(), VertexMeta::named(name));
    let root = root.map_err(|error| Error::internal("make the graph of a frontend", error))?;
    let target = GraphTarget {
        platform: platform.clone(),
        root: Some(root.output()),
        config: found.config.clone(),
        base_layers: 0,
    };
    let prepared = Prepared::of_graph(definition, vec![target], false, &Nobody::outside());
    let root = Mount::Bind {
        input: Some(0),
        source: "/".to_owned(),
        target: "/".to_owned(),
        readonly: false,
        output: Some(0),
    };
    let metadata = Mount::Secret {
        id: String::new(),
        target: Some(METADATA.to_owned()),
        env: None,
        required: true,
        mode: 0o400,
        uid: 0,
        gid: 0,
    };
    let said = found.config.config.labels.get(NO_NETWORK).and_then(|text| boolean::parse(text));
    let network = if said == Some(true) { Network::None } else { Network::Sandbox };
    let op =
        ExecOp { mounts: vec![root, metadata], network, ..ExecOp::new(Vec::new(), platform.clone(), None) };
    Ok((prepared, op, wire_graph(identifier, &platform)))
}

/// The graph of an image in the words of the wire.
fn wire_graph(identifier: String, platform: &Platform) -> Vec<u8> {
    let source = pb::SourceOp { identifier, ..pb::SourceOp::default() };
    let platform = Some(workers::platform(platform));
    let source = pb::Op { op: Some(pb::op::Op::Source(source)), platform, ..pb::Op::default() };
    let bytes = source.encode_to_vec();
    let digest = kiln_engine::oci::Digest::of(&bytes).to_string();
    let root = pb::Op { inputs: vec![pb::Input { digest, index: 0 }], ..pb::Op::default() };
    pb::Definition { def: vec![bytes, root.encode_to_vec()], ..pb::Definition::default() }.encode_to_vec()
}

fn process(caller: &Caller, found: &FoundImage, attributes: &HashMap<String, String>) -> BuildProcess {
    let config = &found.config.config;
    let options = attributes.iter().enumerate();
    let options = options.map(|(at, (key, value))| format!("BUILDKIT_FRONTEND_OPT_{at}={key}={value}"));
    let session = caller.work.offer.as_ref().map(|offer| offer.session.described().id.clone());
    let own = [
        format!("BUILDKIT_SESSION_ID={}", session.unwrap_or_default()),
        format!("BUILDKIT_WORKERS={}", workers_text(&caller.server.options)),
        "BUILDKIT_EXPORTEDPRODUCT=kiln".to_owned(),
    ];
    BuildProcess {
        args: config.entrypoint.clone().unwrap_or_else(|| vec![PROGRAM.to_owned()]),
        env: config.env.iter().cloned().chain(options).chain(own).collect(),
        cwd: config.working_dir.clone(),
        stdin: true,
        ..BuildProcess::default()
    }
}

/// The workers as BuildKit's programs read them.
fn workers_text(options: &Options) -> String {
    let worker = workers::record(options);
    let platform = |it: &pb::Platform| {
        let mut platform = json!({ "architecture": it.architecture, "os": it.os });
        if !it.variant.is_empty() {
            platform["variant"] = json!(it.variant);
        }
        platform
    };
    let version = worker.buildkit_version.unwrap_or_default();
    json!([{
        "id": worker.id,
        "labels": worker.labels,
        "platforms": worker.platforms.iter().map(platform).collect::<Vec<_>>(),
        "gcPolicy": [],
        "buildkitVersion":
            { "package": version.package, "version": version.version, "revision": version.revision },
        "cdiDevices": [],
    }])
    .to_string()
}

/// The one secret of a frontend: the graph that it is of.
struct Metadata(Vec<u8>);

impl Secrets for Metadata {
    fn secret(&self, _id: &str) -> std::result::Result<Option<Vec<u8>>, SessionError> {
        Ok(Some(self.0.clone()))
    }
}

/// The end of what a frontend wrote for people.
#[derive(Default)]
struct Log(Mutex<Vec<u8>>);

impl Log {
    fn add(&self, bytes: &[u8]) {
        // As BuildKit's daemon has it: a log of the daemon's.
        let _ = std::io::stderr().write_all(bytes);
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        let excess = log.len().saturating_sub(TAIL);
        log.drain(..excess);
    }

    fn text(&self) -> String {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match String::from_utf8_lossy(&log).trim() {
            "" => String::new(),
            text => format!(": {text}"),
        }
    }
}

/// Gives the program what is answered. Blocking.
fn feed(runtime: &Handle, mut read: ReadHalf<DuplexStream>, input: &dyn AttachInput) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(count @ 1..) = runtime.block_on(read.read(&mut buffer)) {
        if input.write(&buffer[..count]).is_err() {
            return;
        }
    }
    // One that has ended has nothing to close.
    let _ = input.close();
}

/// Passes on what the program asks, and keeps what it says to people. Blocking.
fn pass_on(
    runtime: &Handle,
    mut output: Box<dyn AttachOutput>,
    mut write: WriteHalf<DuplexStream>,
    log: &Log,
) {
    while let Ok(Some(chunk)) = output.next() {
        match chunk.stream {
            Stream::Stderr => log.add(&chunk.bytes),
            Stream::Stdout => {
                if runtime.block_on(write.write_all(&chunk.bytes)).is_err() {
                    return;
                }
            }
        }
    }
    // The other side may be gone.
    let _ = runtime.block_on(write.shutdown());
}

/// Runs what takes as long as a process lives on a thread of its own.
fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(work).map(drop).map_err(|error| Error::internal("start a thread", error))
}
