//! `LLBBridge` on the control socket: clients that solve parts of their build, look at what came out and say what is wanted.

mod answers;
mod caps;
mod containers;
mod files;
pub(super) mod images;
pub(super) mod inputs;
mod processes;
mod returned;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bollard_buildkit_proto::health::health_server::HealthServer;
use bollard_buildkit_proto::moby::buildkit::v1::VertexWarning;
use bollard_buildkit_proto::moby::buildkit::v1::frontend as wire;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_server::{LlbBridge, LlbBridgeServer};
use bollard_buildkit_proto::pb;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use kiln_engine::build::{BuildContainer, BuiltFiles, Prepared};
use kiln_engine::progress::ProgressSink;
use tokio::io::DuplexStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::frontend::Made;
use super::solve::{Work, check_policy};
use super::{CONNECTION_WINDOW, MAX_MESSAGE, STREAM_WINDOW, Server, errors, frontend, health, llb, workers};
pub(super) use containers::make as make_container;
use files::Reference;
pub(super) use returned::Returned;

/// By what a client names its build.
const BUILD: &str = "buildkit-controlapi-buildid";
/// How long a call waits for its build to ask for it.
const WAIT: Duration = Duration::from_secs(5);
/// The most results of one build that are kept for its client.
const MAX_REFERENCES: usize = 10_000;
/// The most of them that are open at once: each holds a mount. Another look opens what was closed for it.
const MAX_OPEN: usize = 32;

/// A graph with those who hear of it, and the attributes that it was made by.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) prepared: Arc<Prepared>,
    pub(super) sink: Arc<dyn ProgressSink>,
    pub(super) attributes: Arc<HashMap<String, String>>,
}

/// The client's side of one build.
#[derive(Default)]
pub(super) struct Gateway {
    /// What tells the names of its results from those of others of the same build.
    name: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    work: Option<Arc<Work>>,
    closed: bool,
    references: HashMap<String, Arc<Reference>>,
    containers: HashMap<String, Arc<BuildContainer>>,
    inputs: HashMap<String, pb::Definition>,
    parts: Vec<Weak<Gateway>>,
    returned: Option<Result<Returned, Status>>,
    /// The files of results that are open, the oldest first.
    open: VecDeque<Arc<BuiltFiles>>,
}

impl Gateway {
    /// A gateway of a frontend that runs for this one's client.
    pub(super) fn part(&self) -> Arc<Gateway> {
        let mut state = self.state();
        let name = format!("{}.{}", self.name, state.parts.len() + 1);
        let part = Arc::new(Gateway { name, ..Gateway::default() });
        state.parts.push(Arc::downgrade(&part));
        part
    }

    /// Lets the client solve, and gives it these graphs.
    pub(super) fn open(&self, work: Arc<Work>, inputs: HashMap<String, pb::Definition>) {
        let mut state = self.state();
        state.inputs = inputs;
        state.work = Some(work);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Ends that, and forgets what was solved.
    pub(super) fn close(&self) {
        let old = std::mem::replace(&mut *self.state(), State { closed: true, ..State::default() });
        drop(old);
        self.changed.notify_waiters();
    }

    /// Waits for what the client returns.
    pub(super) async fn returned(&self) -> Result<Returned, Status> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(returned) = self.state().returned.take() {
                return returned;
            }
            changed.await;
        }
    }

    /// What the client returned, if it did.
    pub(super) fn take_returned(&self) -> Option<Result<Returned, Status>> {
        self.state().returned.take()
    }

    async fn work(&self) -> Result<Arc<Work>, Status> {
        let opened = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                {
                    let state = self.state();
                    if state.closed {
                        return Err(over());
                    }
                    if let Some(work) = &state.work {
                        return Ok(work.clone());
                    }
                }
                changed.await;
            }
        };
        let late = |_| Status::failed_precondition("the build is not solved by its client");
        timeout(WAIT, opened).await.map_err(late)?
    }

    fn give(&self, returned: Result<Returned, Status>) {
        let mut state = self.state();
        // What nobody takes any more would be kept as long as the build is remembered.
        if !state.closed {
            state.returned.get_or_insert(returned);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn keep(&self, reference: Reference) -> Result<String, Status> {
        let mut state = self.state();
        if state.closed {
            return Err(over());
        }
        if state.references.len() >= MAX_REFERENCES {
            return Err(Status::resource_exhausted("the build has too many results"));
        }
        let id = format!("kiln{}-{}", self.name, state.references.len() + 1);
        state.references.insert(id.clone(), Arc::new(reference));
        Ok(id)
    }

    /// Keeps files open for another look, and closes those of the longest ago.
    fn keep_open(&self, files: Arc<BuiltFiles>) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        state.open.push_back(files);
        let closed = (state.open.len() > MAX_OPEN).then(|| state.open.pop_front());
        drop(state);
        drop(closed);
    }

    /// A result that is kept, by this or by one that is part of this.
    fn find(&self, id: &str) -> Result<Arc<Reference>, Status> {
        let state = self.state();
        let parts = || state.parts.iter().filter_map(Weak::upgrade).find_map(|part| part.find(id).ok());
        let found = state.references.get(id).cloned().or_else(parts);
        found.ok_or_else(|| Status::not_found(format!("no such ref: {}", id.escape_debug())))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn over() -> Status {
    Status::failed_precondition("the build is over")
}

/// Who calls: a build, and its client's side of it.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) server: Arc<Server>,
    pub(super) work: Arc<Work>,
    pub(super) gateway: Arc<Gateway>,
}

/// `moby.buildkit.v1.frontend.LLBBridge`.
pub(super) enum Service {
    /// For all clients of a server; each call names its build.
    OfServer(Arc<Server>),
    /// For one alone.
    Of(Caller),
}

/// Answers the calls of `caller` on a connection of its own, until that ends.
pub(super) async fn serve(caller: Caller, io: DuplexStream) {
    let bridge = LlbBridgeServer::new(Service::Of(caller));
    let routes =
        Routes::new(bridge.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
            .add_service(HealthServer::new(health::Service))
            .prepare()
            .into_axum_router();
    let mut connection = auto::Builder::new(TokioExecutor::new());
    connection
        .http2()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let served = connection.serve_connection(TokioIo::new(io), TowerToHyperService::new(routes)).await;
    if let Err(error) = served {
        tracing::debug!(%error, "the connection of a frontend ended");
    }
}

impl Service {
    fn server(&self) -> &Arc<Server> {
        match self {
            Service::Of(caller) => &caller.server,
            Service::OfServer(server) => server,
        }
    }

    /// Whom a call is from.
    async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let server = match self {
            Service::Of(caller) => return Ok(caller.clone()),
            Service::OfServer(server) => server,
        };
        let missing = || Status::invalid_argument(format!("the call names no build (`{BUILD}`)"));
        let id = request.metadata().get(BUILD).and_then(|id| id.to_str().ok()).ok_or_else(missing)?;
        let gateway = server.jobs.get(id).await?.gateway.clone();
        Ok(Caller { server: server.clone(), work: gateway.work().await?, gateway })
    }

    async fn reference<T>(
        &self,
        request: &Request<T>,
        id: impl FnOnce(&T) -> &String,
    ) -> Result<(Arc<Work>, Arc<Reference>), Status> {
        let Caller { work, gateway, .. } = self.caller(request).await?;
        let reference = gateway.find(id(request.get_ref()))?;
        Ok((work, reference))
    }
}

#[tonic::async_trait]
impl LlbBridge for Service {
    async fn ping(
        &self,
        request: Request<wire::PingRequest>,
    ) -> Result<Response<wire::PongResponse>, Status> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(wire::PongResponse {
            frontend_api_caps: caps::frontend(),
            llb_caps: caps::llb(),
            workers: vec![workers::record(&caller.server.options)],
        }))
    }

    async fn solve(
        &self,
        request: Request<wire::SolveRequest>,
    ) -> Result<Response<wire::SolveResponse>, Status> {
        let caller = self.caller(&request).await?;
        let request = request.into_inner();
        let solved = self.server().beside(async move { solve(&caller, request).await });
        solved.await.map(Response::new)
    }

    async fn read_file(
        &self,
        request: Request<wire::ReadFileRequest>,
    ) -> Result<Response<wire::ReadFileResponse>, Status> {
        let (work, reference) = self.reference(&request, |request| &request.r#ref).await?;
        let request = request.into_inner();
        let data = self.server().beside(async move { files::read(&work, &reference, &request).await });
        Ok(Response::new(wire::ReadFileResponse { data: data.await? }))
    }

    async fn read_dir(
        &self,
        request: Request<wire::ReadDirRequest>,
    ) -> Result<Response<wire::ReadDirResponse>, Status> {
        let (work, reference) = self.reference(&request, |request| &request.r#ref).await?;
        let request = request.into_inner();
        let entries = self.server().beside(async move { files::list(&work, &reference, &request).await });
        Ok(Response::new(wire::ReadDirResponse { entries: entries.await? }))
    }

    async fn stat_file(
        &self,
        request: Request<wire::StatFileRequest>,
    ) -> Result<Response<wire::StatFileResponse>, Status> {
        let (work, reference) = self.reference(&request, |request| &request.r#ref).await?;
        let request = request.into_inner();
        let stat = self.server().beside(async move { files::stat(&work, &reference, &request).await });
        Ok(Response::new(wire::StatFileResponse { stat: Some(stat.await?) }))
    }

    async fn evaluate(
        &self,
        request: Request<wire::EvaluateRequest>,
    ) -> Result<Response<wire::EvaluateResponse>, Status> {
        let (work, reference) = self.reference(&request, |request| &request.r#ref).await?;
        self.server().beside(async move { reference.files(&work).await.map(drop) }).await?;
        Ok(Response::new(wire::EvaluateResponse {}))
    }

    async fn resolve_image_config(
        &self,
        request: Request<wire::ResolveImageConfigRequest>,
    ) -> Result<Response<wire::ResolveImageConfigResponse>, Status> {
        let Caller { work, .. } = self.caller(&request).await?;
        let request = request.into_inner();
        let found = self.server().beside(async move { images::config(&work, request).await });
        found.await.map(Response::new)
    }

    async fn resolve_source_meta(
        &self,
        request: Request<wire::ResolveSourceMetaRequest>,
    ) -> Result<Response<wire::ResolveSourceMetaResponse>, Status> {
        let Caller { work, .. } = self.caller(&request).await?;
        let request = request.into_inner();
        let found = self.server().beside(async move { images::source(&work, request).await });
        found.await.map(Response::new)
    }

    async fn r#return(
        &self,
        request: Request<wire::ReturnRequest>,
    ) -> Result<Response<wire::ReturnResponse>, Status> {
        let Caller { gateway, .. } = self.caller(&request).await?;
        let wire::ReturnRequest { result, error } = request.into_inner();
        match error {
            Some(error) => gateway.give(Err(errors::told(&error))),
            None => gateway.give(Ok(Returned::of_result(&gateway, result.unwrap_or_default())?)),
        }
        Ok(Response::new(wire::ReturnResponse {}))
    }

    async fn inputs(
        &self,
        request: Request<wire::InputsRequest>,
    ) -> Result<Response<wire::InputsResponse>, Status> {
        let Caller { gateway, .. } = self.caller(&request).await?;
        let definitions = gateway.state().inputs.clone();
        Ok(Response::new(wire::InputsResponse { definitions }))
    }

    async fn warn(
        &self,
        request: Request<wire::WarnRequest>,
    ) -> Result<Response<wire::WarnResponse>, Status> {
        let Caller { work, .. } = self.caller(&request).await?;
        let wire::WarnRequest { digest: vertex, level, short, detail, url, info, ranges } =
            request.into_inner();
        work.job.recorder.warn(VertexWarning { vertex, level, short, detail, url, info, ranges });
        Ok(Response::new(wire::WarnResponse {}))
    }

    async fn new_container(
        &self,
        request: Request<wire::NewContainerRequest>,
    ) -> Result<Response<wire::NewContainerResponse>, Status> {
        let caller = self.caller(&request).await?;
        let request = request.into_inner();
        self.server().beside(async move { containers::open(&caller, request).await }).await?;
        Ok(Response::new(wire::NewContainerResponse {}))
    }

    async fn release_container(
        &self,
        request: Request<wire::ReleaseContainerRequest>,
    ) -> Result<Response<wire::ReleaseContainerResponse>, Status> {
        let Caller { gateway, .. } = self.caller(&request).await?;
        containers::release(&gateway, &request.into_inner().container_id).await?;
        Ok(Response::new(wire::ReleaseContainerResponse {}))
    }

    type ExecProcessStream = processes::Answers;

    async fn exec_process(
        &self,
        request: Request<Streaming<wire::ExecMessage>>,
    ) -> Result<Response<Self::ExecProcessStream>, Status> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(processes::serve(caller, request.into_inner())))
    }

    async fn read_file_container(
        &self,
        _: Request<wire::ReadFileRequest>,
    ) -> Result<Response<wire::ReadFileResponse>, Status> {
        Err(no_files())
    }

    async fn read_dir_container(
        &self,
        _: Request<wire::ReadDirRequest>,
    ) -> Result<Response<wire::ReadDirResponse>, Status> {
        Err(no_files())
    }

    async fn stat_file_container(
        &self,
        _: Request<wire::StatFileRequest>,
    ) -> Result<Response<wire::StatFileResponse>, Status> {
        Err(no_files())
    }
}

/// What the capabilities say already.
fn no_files() -> Status {
    Status::unimplemented("looking at files of a container that runs")
}

/// Understands a graph or a Dockerfile; it is carried out when somebody wants to see what comes of it.
async fn solve(caller: &Caller, request: wire::SolveRequest) -> Result<wire::SolveResponse, Status> {
    let Caller { server, work, gateway } = caller;
    let told = |error| errors::status(&error);
    check_policy(&request.source_policies).map_err(told)?;
    let wire::SolveRequest { definition, frontend, frontend_opt, frontend_inputs, evaluate, .. } = request;
    if frontend.is_empty() {
        let Some(definition) = definition.filter(|definition| !definition.def.is_empty()) else {
            return Ok(answers::empty());
        };
        let reference = match inputs::find(server, &definition).await? {
            Some((_, found)) => Reference::new(found.part.clone(), found.number),
            None => Reference::new(llb::part(work, &definition).map_err(told)?, 0),
        };
        if evaluate {
            reference.files(work).await?;
        }
        let id = gateway.keep(reference)?;
        return Ok(answers::of_graph(id, definition));
    }
    let part = match frontend::run(server, work, &frontend, frontend_opt, &frontend_inputs).await? {
        Made::Part(part) => part,
        Made::Returned(returned) => return returned.answer(&work.job.reference, gateway),
    };
    let count = part.prepared.targets().len();
    let references: Vec<Reference> = (0..count).map(|number| Reference::new(part.clone(), number)).collect();
    if evaluate {
        for reference in &references {
            reference.files(work).await?;
        }
    }
    let ids = references.into_iter().map(|reference| gateway.keep(reference));
    let ids = ids.collect::<Result<Vec<String>, Status>>()?;
    Ok(answers::of_targets(&work.job.reference, &part.prepared, ids))
}
