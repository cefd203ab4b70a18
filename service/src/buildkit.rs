//! The BuildKit API: gRPC services over `engine`, and the sessions in which clients serve files and more to a build.
//!
//! ```text
//! Solve --frontend/llb--> Prepared --engine--> images --export--> session's FileSend
//!   |                        ^                    events --status--> Status
//! LLBBridge --gateway--------+
//! ```

mod ask;
mod attributes;
mod auth;
mod blobs;
mod content;
mod control;
mod errors;
mod exports;
mod filesend;
mod filesync;
mod frontend;
mod gateway;
mod health;
mod history;
mod image_frontend;
mod jobs;
mod llb;
mod offer;
mod packets;
mod permitted;
mod policy;
mod questions;
mod secrets;
mod session;
mod solve;
mod source_rules;
mod ssh;
mod status;
mod tunnel;
mod turns;
mod workers;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use axum::Extension;
use bollard_buildkit_proto::health::health_server::HealthServer;
use bollard_buildkit_proto::moby::buildkit::v1::control_server::ControlServer;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_server::LlbBridgeServer;
use bollard_buildkit_proto::moby::buildkit::v1::{SolveRequest, StatusResponse};
use futures_util::Stream;
use hyper::HeaderMap;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use kiln_engine::build::Input;
use kiln_engine::config::buildkitd::{Frontends, GcPolicy};
use kiln_engine::oci::Platform;
use kiln_engine::{CancellationToken, Engine};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::service::Routes;

use crate::observe::{Observer, Parent};
use crate::server::Peer;
pub use ask::{Worker, info, workers};
use jobs::Jobs;
use session::Sessions;
pub(crate) use turns::Turn;
use turns::{MAX_AT_ONCE, Turns};
pub use workers::version_line;

/// The most bytes of one message: of a graph, above all.
const MAX_MESSAGE: usize = 16 << 20;

/// Bytes that may come unasked for on one stream, and on one connection: for every listener of this API. A folder is named in
/// messages of some fifty bytes, and `h2` gives a connection up for small frames that nobody read yet when each of them,
/// counted as 256 bytes, fills half the connection's window: so that is as large as a stream's window full of them wants.
pub const STREAM_WINDOW: u32 = 128 << 10;
/// See [`STREAM_WINDOW`].
pub const CONNECTION_WINDOW: u32 = 16 << 20;

/// What a client is told of its build, and what it is answered at the end.
pub type Told = Result<StatusResponse, Status>;
/// See [`Told`].
pub type Answer = Result<HashMap<String, String>, Status>;

/// What a server of the BuildKit API is told at its start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What programs that fetch for a build find in their environment: `PATH`, and proxies.
    pub environment: BTreeMap<String, String>,
    /// Entitlements that clients may grant their builds, such as `network.host`; none by default.
    pub entitlements: Vec<String>,
    /// More labels of the one worker.
    pub labels: BTreeMap<String, String>,
    /// The platforms that clients are told; those that this machine runs where there are none.
    pub platforms: Vec<Platform>,
    /// The frontends that clients may ask for.
    pub frontends: Frontends,
    /// How many steps of a build run at once.
    pub max_parallelism: Option<usize>,
    /// What keeps the build cache small, one rule after the other; without rules nothing does.
    pub gc: Vec<GcPolicy>,
    /// Who hears of builds that ended.
    pub observer: Arc<Observer>,
}

/// The BuildKit API of one engine. Clones are the same server.
#[derive(Clone)]
pub struct BuildKit {
    server: Arc<Server>,
}

/// What the services share.
struct Server {
    engine: Engine,
    options: Options,
    sessions: Arc<Sessions>,
    jobs: Arc<Jobs>,
    turns: Arc<Turns>,
    /// What goes on for a moment when its client has gone away.
    work: TaskTracker,
}

impl BuildKit {
    /// A server that builds with `engine`, and gives builds up at `stop`.
    pub fn new(engine: Engine, options: Options, stop: CancellationToken) -> BuildKit {
        let (sessions, jobs) = (Arc::default(), Arc::new(Jobs::new(stop, Arc::clone(&options.observer))));
        let (turns, work) = (Arc::new(Turns::new(MAX_AT_ONCE)), TaskTracker::new());
        BuildKit { server: Arc::new(Server { engine, options, sessions, jobs, turns, work }) }
    }

    /// Waits until no build goes on any more, then ends the sessions; for the time after the stop.
    pub async fn ended(&self) {
        self.server.work.close();
        self.server.work.wait().await;
        self.server.sessions.close();
    }

    /// A turn of `client` to build, shared with all builds of this server.
    pub(crate) async fn turn(&self, client: &str) -> Turn {
        self.server.turns.take(client).await
    }

    /// Its gRPC services as routes, for a listener that speaks HTTP/2 among others.
    pub fn routes(&self) -> axum::Router {
        let control = ControlServer::new(control::Service(self.clone()));
        let bridge = LlbBridgeServer::new(gateway::Service::OfServer(self.server.clone()));
        Routes::new(control.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
            .add_service(bridge.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
            .add_service(blobs::Blobs(self.server.clone()))
            .add_service(HealthServer::new(health::Service))
            .prepare()
            .into_axum_router()
    }

    /// Builds what a client asked for; what it is answered. The build is given up when this is dropped.
    pub async fn solve(&self, request: SolveRequest) -> Result<HashMap<String, String>, Status> {
        let (_, answer) = self.begin(request, None)?;
        answer.await
    }

    /// The same as a part of a span of its client's.
    async fn solve_within(
        &self,
        request: SolveRequest,
        parent: Option<Parent>,
    ) -> Result<HashMap<String, String>, Status> {
        let (_, answer) = self.begin_within(request, None, parent)?;
        answer.await
    }

    /// How many builds run.
    pub(crate) fn running(&self) -> usize {
        self.server.jobs.running()
    }

    /// How many sessions are open.
    pub(crate) fn sessions(&self) -> usize {
        self.server.sessions.count()
    }

    /// Who hears of builds that ended.
    pub(crate) fn observer(&self) -> &Observer {
        &self.server.options.observer
    }

    /// Begins a build that a client asked for, in other words perhaps (`POST /build?version=2`); what is told of it, all from
    /// the start, and what it is answered. The build is given up when the latter is dropped. `context` is the build's where
    /// it is none that the request names.
    pub fn begin(
        &self,
        request: SolveRequest,
        context: Option<Input>,
    ) -> Result<(impl Stream<Item = Told> + Send + use<>, impl Future<Output = Answer> + Send + use<>), Status>
    {
        self.begin_within(request, context, None)
    }

    fn begin_within(
        &self,
        request: SolveRequest,
        context: Option<Input>,
        parent: Option<Parent>,
    ) -> Result<(impl Stream<Item = Told> + Send + use<>, impl Future<Output = Answer> + Send + use<>), Status>
    {
        let exporters = exports::exporters(&request);
        let job = self.server.jobs.begin(&request, &exporters)?;
        job.set_parent(parent);
        job.bring(context);
        let told = job.recorder.clone().watch();
        // A client that goes away gives its build up.
        let gone = job.cancel.clone().drop_guard();
        let server = self.server.clone();
        let answer = async move {
            let answer = solve::run(server, job, request, exporters).await;
            drop(gone);
            answer
        };
        Ok((told, answer))
    }

    /// Gives the build `reference` up, if it runs.
    pub fn cancel(&self, reference: &str) {
        self.server.jobs.cancel(reference);
    }

    /// Serves the same on a connection of `peer` that was taken over (`POST /grpc`), until it ends.
    pub async fn serve_grpc(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Option<Peer>,
    ) {
        let routes = match peer {
            Some(peer) => self.routes().layer(Extension(peer)),
            None => self.routes(),
        };
        let service = TowerToHyperService::new(routes);
        let mut connection = auto::Builder::new(TokioExecutor::new());
        connection
            .http2()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let served = connection.serve_connection_with_upgrades(TokioIo::new(io), service).await;
        if let Err(error) = served {
            tracing::debug!(%error, "a gRPC connection ended");
        }
    }

    /// Whether a request's headers describe a session. An error is the client's.
    pub fn check_session(&self, headers: &HeaderMap) -> Result<(), kiln_engine::Error> {
        session::Described::of(headers).map(drop)
    }

    /// Takes a connection over (`POST /session`) as the session that its request's headers describe, until it ends.
    /// An error is the client's: a header that is missing, or too many sessions.
    pub async fn serve_session(
        &self,
        headers: &HeaderMap,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<(), kiln_engine::Error> {
        let described = session::Described::of(headers)?;
        let attached = self.server.sessions.attach(described, io).await?;
        attached.closed().await;
        Ok(())
    }
}

impl fmt::Debug for BuildKit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildKit").field("options", &self.server.options).finish_non_exhaustive()
    }
}
