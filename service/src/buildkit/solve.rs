//! `Solve`: from what a client asks to what it is answered.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy::Policy as Rules;
use bollard_buildkit_proto::moby::buildkit::v1::{Exporter, SolveRequest};
use kiln_engine::build::{BuildRequest, Export, Prepared};
use kiln_engine::config::buildkitd::Frontends;
use kiln_engine::progress::ProgressSink;
use kiln_engine::{Engine, Error, ErrorKind, Result};
use tokio::task::JoinError;
use tonic::Status;

use super::attributes::{self, Attributes};
use super::blobs::Blob;
use super::filesend::Streams;
use super::frontend::Made;
use super::gateway::{Part, Returned};
use super::jobs::{Job, Jobs};
use super::offer::{Nobody, Offer};
use super::policy::Policy;
use super::source_rules::Policies;
use super::turns::{Turn, Turns};
use super::{Options, Server, errors, exports, frontend, llb};

/// A build under way: who does it, for whom.
pub(super) struct Work {
    pub(super) engine: Engine,
    pub(super) job: Arc<Job>,
    pub(super) offer: Option<Offer>,
    environment: std::collections::BTreeMap<String, String>,
    jobs: Option<usize>,
    /// Which frontends it may ask for.
    pub(super) permitted: Frontends,
    allow: kiln_engine::build::Entitlements,
    /// What its sources may be.
    pub(super) rules: Arc<Policies>,
    solves: AtomicU32,
    /// Frontends that run in containers.
    pub(super) frontends: AtomicU32,
    /// Who decides which sources it may use.
    policy: Option<Policy>,
    turns: Arc<Turns>,
    /// Who takes turns with others.
    client: String,
}

/// Builds, beside the caller: whatever becomes of that, the build ends in order and its end is remembered.
pub(super) async fn run(
    server: Arc<Server>,
    job: Arc<Job>,
    request: SolveRequest,
    exporters: Vec<Exporter>,
) -> std::result::Result<HashMap<String, String>, Status> {
    let jobs = server.jobs.clone();
    let ending = Ending { jobs: jobs.clone(), job: job.clone() };
    let beside = server.clone();
    let done = beside.beside(async move {
        let answer = solve(&server, &job, request, &exporters).await;
        jobs.end(&job, &answer);
        drop(ending);
        answer
    });
    done.await
}

impl Server {
    /// Does `work` to its end, whatever becomes of the caller.
    pub(super) async fn beside<T: Send + 'static>(
        &self,
        work: impl Future<Output = std::result::Result<T, Status>> + Send + 'static,
    ) -> std::result::Result<T, Status> {
        self.work.spawn(work).await.map_err(broke_off)?
    }

    /// The same with a call of the engine that waits for the disk.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, Status> {
        let done = self.work.spawn_blocking(work).await.map_err(broke_off)?;
        done.map_err(|error| errors::status(&error))
    }
}

fn broke_off(error: JoinError) -> Status {
    Status::internal(format!("the build broke off: {error}"))
}

/// Ends a job whose task did not.
struct Ending {
    jobs: Arc<Jobs>,
    job: Arc<Job>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if self.job.outcome().is_none() {
            self.jobs.end(&self.job, &Err(Status::internal("the build broke off")));
        }
    }
}

async fn solve(
    server: &Arc<Server>,
    job: &Arc<Job>,
    request: SolveRequest,
    exporters: &[Exporter],
) -> std::result::Result<HashMap<String, String>, Status> {
    let told = |error: Error| errors::status(&error);
    check_cache(&request).map_err(told)?;
    let work = Arc::new(Work::begin(server, job, &request).await.map_err(told)?);
    let streams = Streams::of(job.cancel.clone());
    let session = work.offer.as_ref().map(|offer| &offer.session);
    let exports = exports::exports(exporters, session, &streams).map_err(told)?;
    let (returned, _turn) = match (request.frontend.as_str(), &request.definition) {
        ("", None) => {
            // Nothing is done until its client asks for something.
            job.gateway.open(work.clone(), request.frontend_inputs.clone());
            let returned = work.returned().await;
            job.gateway.end_containers().await;
            (returned?, work.turn().await.map_err(told)?)
        }
        ("", Some(definition)) => {
            let turn = work.turn().await.map_err(told)?;
            let part = llb::part(&work, definition).map_err(told)?;
            (Returned::of_part(part), turn)
        }
        (frontend, _) => {
            let attributes = request.frontend_attrs.clone();
            let made = frontend::run(server, &work, frontend, attributes, &request.frontend_inputs).await?;
            let returned = match made {
                Made::Part(part) => Returned::of_part(part),
                Made::Returned(returned) => returned,
            };
            (returned, work.turn().await.map_err(told)?)
        }
    };
    let result = build(&work, &returned, &request.frontend_attrs, exports).await;
    match result {
        Ok(response) => {
            streams.finish().await.map_err(told)?;
            Ok(response)
        }
        Err(error) => Err(told(error)),
    }
}

async fn build(
    work: &Work,
    returned: &Returned,
    attributes: &HashMap<String, String>,
    exports: Vec<Export>,
) -> Result<HashMap<String, String>> {
    let Some(prepared) = returned.gather()? else {
        return Ok(HashMap::new());
    };
    work.check_sources(&prepared).await?;
    let mut request = work.request(attributes)?;
    if exports.iter().any(|export| matches!(export, Export::Docker { .. })) {
        // Docker's archive has no place for them, and clients ask for them unasked.
        request.attest.provenance = None;
        request.attest.sbom = false;
    }
    request.exports = exports;
    let sink = returned.sink(work);
    let cancel = work.job.cancel.clone();
    let result = work.engine.build_prepared(&prepared, request, sink, cancel).await?;
    for said in &result.statements {
        work.job.keep(Blob::of_statement(said, prepared.is_multi_platform()));
    }
    let mut response = exports::response(&result);
    response.extend(returned.texts());
    Ok(response)
}

/// What kiln does not keep elsewhere is not said to be kept.
fn check_cache(request: &SolveRequest) -> Result<()> {
    let Some(cache) = &request.cache else { return Ok(()) };
    let exports = cache.exports.iter().map(|entry| entry.r#type.as_str());
    let exports = exports.chain((!cache.export_ref_deprecated.is_empty()).then_some("registry"));
    match exports.into_iter().next() {
        Some(kind) => Err(Error::not_implemented(format!("exporting the cache (`type={kind}`)"))
            .with_hint("the cache of this daemon is kept between builds anyway")),
        None => Ok(()),
    }
}

/// Rules for one solve of a build nobody would keep: they are not taken.
pub(super) fn check_policy(policies: &[Rules]) -> Result<()> {
    match policies.iter().any(|policy| !policy.rules.is_empty()) {
        true => Err(Error::not_implemented("a source policy of one solve")),
        false => Ok(()),
    }
}

impl Work {
    async fn begin(server: &Server, job: &Arc<Job>, request: &SolveRequest) -> Result<Work> {
        let allow = attributes::entitlements(&request.entitlements, &server.options.entitlements)?;
        let offer = match request.session.as_str() {
            "" => None,
            id => Some(server.sessions.get(id).await?),
        };
        let offer = offer.map(|session| Offer::new(&server.engine, session, job.cancel.clone()));
        let engine = match &offer {
            Some(offer) => offer.engine(&server.engine),
            None => server.engine.clone(),
        };
        let Options { environment, max_parallelism: jobs, frontends: permitted, .. } = server.options.clone();
        let policy = match request.source_policy_session.as_str() {
            "" => None,
            id => Some(Policy::new(server.sessions.get(id).await?)?),
        };
        let rules = Arc::new(Policies::parse(request.source_policy.as_slice())?);
        // Builds of one session are of one client; one without is nobody else's.
        let client = if request.session.is_empty() { &request.r#ref } else { &request.session };
        Ok(Work {
            engine,
            job: job.clone(),
            offer,
            environment,
            jobs,
            permitted,
            allow,
            rules,
            solves: AtomicU32::new(0),
            frontends: AtomicU32::new(0),
            policy,
            turns: server.turns.clone(),
            client: client.clone(),
        })
    }

    /// Asks whether the sources of a graph may be used.
    pub(super) async fn check_sources(&self, prepared: &Prepared) -> Result<()> {
        let Some(policy) = &self.policy else { return Ok(()) };
        for source in prepared.sources() {
            policy.check(self, &source).await?;
        }
        Ok(())
    }

    /// Asks whether the context at `url` may be fetched.
    pub(super) async fn check_remote(&self, url: &str) -> Result<()> {
        match (&self.policy, kiln_engine::build::remote_source(url)) {
            (Some(policy), Some(source)) => policy.check(self, &source).await,
            _ => Ok(()),
        }
    }

    /// Waits until it is this client's turn.
    pub(super) async fn turn(&self) -> Result<Turn> {
        tokio::select! {
            turn = self.turns.take(&self.client) => Ok(turn),
            () = self.job.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the build was cancelled")),
        }
    }

    /// What the engine is asked, but for a context and exports.
    pub(super) fn request(&self, attributes: &HashMap<String, String>) -> Result<BuildRequest> {
        Ok(self.fill(Attributes::parse(attributes)?.request))
    }

    /// The request of this build's client.
    pub(super) fn fill(&self, request: BuildRequest) -> BuildRequest {
        let mut outside = match &self.offer {
            Some(offer) => offer.outside(),
            None => Nobody::outside(),
        };
        outside.policy = Some(self.rules.clone());
        BuildRequest {
            outside,
            environment: self.environment.clone(),
            jobs: self.jobs,
            allow: self.allow.clone(),
            ..request
        }
    }

    /// Who hears of one more solve; `digests` are what the client calls its steps.
    pub(super) fn sink(&self, digests: Vec<Option<String>>) -> Arc<dyn ProgressSink> {
        let number = self.solves.fetch_add(1, Ordering::Relaxed);
        self.job.recorder.sink(number, digests)
    }

    /// A graph with what belongs to it.
    pub(super) fn part(
        &self,
        prepared: Prepared,
        sink: Arc<dyn ProgressSink>,
        attributes: HashMap<String, String>,
    ) -> Part {
        Part { prepared: Arc::new(prepared), sink, attributes: Arc::new(attributes) }
    }

    /// Waits for what the client makes of its build.
    async fn returned(&self) -> std::result::Result<Returned, Status> {
        let closed = async {
            match &self.offer {
                Some(offer) => offer.session.closed().await,
                None => std::future::pending().await,
            }
        };
        let cancelled = |why: &str| errors::status(&Error::new(ErrorKind::Cancelled, why));
        tokio::select! {
            returned = self.job.gateway.returned() => returned,
            () = self.job.cancel.cancelled() => Err(cancelled("the build was cancelled")),
            () = closed => Err(cancelled("the client went away")),
        }
    }
}
