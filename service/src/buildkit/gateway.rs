//! `LLBBridge` on the control socket: clients that solve parts of their build, look at what came out and say what is wanted.

mod answers;
mod caps;
mod files;
mod images;
pub(super) mod inputs;
mod returned;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::VertexWarning;
use bollard_buildkit_proto::moby::buildkit::v1::frontend as wire;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_server::LlbBridge;
use kiln_engine::build::Prepared;
use kiln_engine::progress::ProgressSink;
use tokio::sync::Notify;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::solve::{Work, check_policy, on_own_thread};
use super::{Server, errors, frontend, llb, workers};
use files::Reference;
pub(super) use returned::Returned;

/// By what a client names its build.
const BUILD: &str = "buildkit-controlapi-buildid";
/// How long a call waits for its build to ask for it.
const WAIT: Duration = Duration::from_secs(5);
/// The most results of one build that are kept for its client.
const MAX_REFERENCES: usize = 10_000;

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
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    work: Option<Arc<Work>>,
    closed: bool,
    references: HashMap<String, Arc<Reference>>,
    returned: Option<Result<Returned, Status>>,
}

impl Gateway {
    /// Lets the client solve.
    pub(super) fn open(&self, work: Arc<Work>) {
        self.state().work = Some(work);
        self.changed.notify_waiters();
    }

    /// Ends that, and forgets what was solved.
    pub(super) fn close(&self) {
        *self.state() = State { closed: true, ..State::default() };
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
        let id = format!("kiln-{}", state.references.len() + 1);
        state.references.insert(id.clone(), Arc::new(reference));
        Ok(id)
    }

    fn find(&self, id: &str) -> Result<Arc<Reference>, Status> {
        let found = self.state().references.get(id).cloned();
        found.ok_or_else(|| Status::not_found(format!("no such ref: {}", id.escape_debug())))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn over() -> Status {
    Status::failed_precondition("the build is over")
}

/// `moby.buildkit.v1.frontend.LLBBridge`.
pub(super) struct Service(pub(super) Arc<Server>);

impl Service {
    /// The build that a call is about.
    async fn work<T>(&self, request: &Request<T>) -> Result<Arc<Work>, Status> {
        let missing = || Status::invalid_argument(format!("the call names no build (`{BUILD}`)"));
        let id = request.metadata().get(BUILD).and_then(|id| id.to_str().ok()).ok_or_else(missing)?;
        self.0.jobs.get(id).await?.gateway.work().await
    }

    async fn reference<T>(
        &self,
        request: &Request<T>,
        id: impl FnOnce(&T) -> &String,
    ) -> Result<(Arc<Work>, Arc<Reference>), Status> {
        let work = self.work(request).await?;
        let reference = work.job.gateway.find(id(request.get_ref()))?;
        Ok((work, reference))
    }
}

#[tonic::async_trait]
impl LlbBridge for Service {
    async fn ping(
        &self,
        request: Request<wire::PingRequest>,
    ) -> Result<Response<wire::PongResponse>, Status> {
        self.work(&request).await?;
        Ok(Response::new(wire::PongResponse {
            frontend_api_caps: caps::frontend(),
            llb_caps: caps::llb(),
            workers: vec![workers::record(&self.0.options.labels)],
        }))
    }

    async fn solve(
        &self,
        request: Request<wire::SolveRequest>,
    ) -> Result<Response<wire::SolveResponse>, Status> {
        let work = self.work(&request).await?;
        let request = request.into_inner();
        let server = self.0.clone();
        let solved = on_own_thread(move || async move { solve(&server, &work, request).await });
        solved.await?.map(Response::new)
    }

    async fn read_file(
        &self,
        request: Request<wire::ReadFileRequest>,
    ) -> Result<Response<wire::ReadFileResponse>, Status> {
        let (work, reference) = self.reference(&request, |request| &request.r#ref).await?;
        let request = request.into_inner();
        let data = on_own_thread(move || async move { files::read(&work, &reference, &request).await });
        Ok(Response::new(wire::ReadFileResponse { data: data.await?? }))
    }

    async fn read_dir(
        &self,
        request: Request<wire::ReadDirRequest>,
    ) -> Result<Response<wire::ReadDirResponse>, Status> {
        let (work, reference) = self.reference(&request, |request| &request.r#ref).await?;
        let request = request.into_inner();
        let entries = on_own_thread(move || async move { files::list(&work, &reference, &request).await });
        Ok(Response::new(wire::ReadDirResponse { entries: entries.await?? }))
    }

    async fn stat_file(
        &self,
        request: Request<wire::StatFileRequest>,
    ) -> Result<Response<wire::StatFileResponse>, Status> {
        let (work, reference) = self.reference(&request, |request| &request.r#ref).await?;
        let request = request.into_inner();
        let stat = on_own_thread(move || async move { files::stat(&work, &reference, &request).await });
        Ok(Response::new(wire::StatFileResponse { stat: Some(stat.await??) }))
    }

    async fn evaluate(
        &self,
        request: Request<wire::EvaluateRequest>,
    ) -> Result<Response<wire::EvaluateResponse>, Status> {
        let (work, reference) = self.reference(&request, |request| &request.r#ref).await?;
        on_own_thread(move || async move { reference.files(&work).await.map(drop) }).await??;
        Ok(Response::new(wire::EvaluateResponse {}))
    }

    async fn resolve_image_config(
        &self,
        request: Request<wire::ResolveImageConfigRequest>,
    ) -> Result<Response<wire::ResolveImageConfigResponse>, Status> {
        let work = self.work(&request).await?;
        let request = request.into_inner();
        let found = on_own_thread(move || async move { images::config(&work, request).await });
        found.await?.map(Response::new)
    }

    async fn resolve_source_meta(
        &self,
        request: Request<wire::ResolveSourceMetaRequest>,
    ) -> Result<Response<wire::ResolveSourceMetaResponse>, Status> {
        let work = self.work(&request).await?;
        let request = request.into_inner();
        let found = on_own_thread(move || async move { images::source(&work, request).await });
        found.await?.map(Response::new)
    }

    async fn r#return(
        &self,
        request: Request<wire::ReturnRequest>,
    ) -> Result<Response<wire::ReturnResponse>, Status> {
        let work = self.work(&request).await?;
        let gateway = &work.job.gateway;
        let wire::ReturnRequest { result, error } = request.into_inner();
        match error {
            Some(error) => gateway.give(Err(errors::told(&error))),
            None => gateway.give(Ok(Returned::of_result(gateway, result.unwrap_or_default())?)),
        }
        Ok(Response::new(wire::ReturnResponse {}))
    }

    async fn inputs(
        &self,
        request: Request<wire::InputsRequest>,
    ) -> Result<Response<wire::InputsResponse>, Status> {
        self.work(&request).await?;
        Ok(Response::new(wire::InputsResponse::default()))
    }

    async fn warn(
        &self,
        request: Request<wire::WarnRequest>,
    ) -> Result<Response<wire::WarnResponse>, Status> {
        let work = self.work(&request).await?;
        let wire::WarnRequest { digest: vertex, level, short, detail, url, info, ranges } =
            request.into_inner();
        work.job.recorder.warn(VertexWarning { vertex, level, short, detail, url, info, ranges });
        Ok(Response::new(wire::WarnResponse {}))
    }

    async fn new_container(
        &self,
        _: Request<wire::NewContainerRequest>,
    ) -> Result<Response<wire::NewContainerResponse>, Status> {
        Err(no_containers())
    }

    async fn release_container(
        &self,
        _: Request<wire::ReleaseContainerRequest>,
    ) -> Result<Response<wire::ReleaseContainerResponse>, Status> {
        Err(no_containers())
    }

    type ExecProcessStream = futures_util::stream::Empty<Result<wire::ExecMessage, Status>>;

    async fn exec_process(
        &self,
        _: Request<Streaming<wire::ExecMessage>>,
    ) -> Result<Response<Self::ExecProcessStream>, Status> {
        Err(no_containers())
    }

    async fn read_file_container(
        &self,
        _: Request<wire::ReadFileRequest>,
    ) -> Result<Response<wire::ReadFileResponse>, Status> {
        Err(no_containers())
    }

    async fn read_dir_container(
        &self,
        _: Request<wire::ReadDirRequest>,
    ) -> Result<Response<wire::ReadDirResponse>, Status> {
        Err(no_containers())
    }

    async fn stat_file_container(
        &self,
        _: Request<wire::StatFileRequest>,
    ) -> Result<Response<wire::StatFileResponse>, Status> {
        Err(no_containers())
    }
}

/// What the capabilities say already.
fn no_containers() -> Status {
    Status::unimplemented("containers of a build are not supported")
}

/// Understands a graph or a Dockerfile; it is carried out when somebody wants to see what comes of it.
async fn solve(
    server: &Server,
    work: &Work,
    request: wire::SolveRequest,
) -> Result<wire::SolveResponse, Status> {
    let told = |error| errors::status(&error);
    check_policy(false, &request.source_policies).map_err(told)?;
    let wire::SolveRequest { definition, frontend, frontend_opt, frontend_inputs, evaluate, .. } = request;
    if frontend.is_empty() {
        let Some(definition) = definition.filter(|definition| !definition.def.is_empty()) else {
            return Ok(answers::empty());
        };
        let part = llb::part(work, &definition).map_err(told)?;
        let reference = Reference::new(part, 0);
        if evaluate {
            reference.files(work).await?;
        }
        let id = work.job.gateway.keep(reference)?;
        return Ok(answers::of_graph(id, definition));
    }
    let inputs = inputs::bring(server, work, &frontend_opt, &frontend_inputs).await?;
    let part = frontend::prepare(work, &frontend, frontend_opt, inputs).await.map_err(told)?;
    let count = part.prepared.targets().len();
    let references: Vec<Reference> = (0..count).map(|number| Reference::new(part.clone(), number)).collect();
    if evaluate {
        for reference in &references {
            reference.files(work).await?;
        }
    }
    let ids = references.into_iter().map(|reference| work.job.gateway.keep(reference));
    let ids = ids.collect::<Result<Vec<String>, Status>>()?;
    Ok(answers::of_targets(&work.job.reference, &part.prepared, ids))
}
