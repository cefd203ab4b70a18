//! `moby.buildkit.v1.Control`: what every client of the BuildKit API calls.

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use bollard_buildkit_proto::moby::buildkit::v1::control_server::Control;
use futures_util::Stream;
use futures_util::stream::iter;
use kiln_engine::config::buildkitd::{DiskSpace, GcSpace};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::{BuildKit, attributes, errors, history, session, tunnel, workers};
use crate::cache::space::shrink;
use crate::cache::{self, Filters};
use crate::observe::Parent;
use crate::server::Peer;

/// The record that what a prune took away is told as, and its type.
const CACHE: &str = "kiln-build-cache";
const RECORD_TYPE: &str = "regular";

/// By which clients know the time of this machine.
const NOW: &str = "buildkit-current-timestamp";
/// Which span of the client's a request is a part of (W3C Trace Context).
const TRACE_PARENT: &str = "traceparent";

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
pub(super) struct Service(pub(super) BuildKit);

#[tonic::async_trait]
impl Control for Service {
    async fn info(&self, _: Request<wire::InfoRequest>) -> Result<Response<wire::InfoResponse>, Status> {
        Ok(Response::new(wire::InfoResponse { buildkit_version: Some(workers::version()) }))
    }

    async fn list_workers(
        &self,
        _: Request<wire::ListWorkersRequest>,
    ) -> Result<Response<wire::ListWorkersResponse>, Status> {
        let record = vec![workers::record(&self.0.server.options)];
        Ok(Response::new(wire::ListWorkersResponse { record }))
    }

    async fn solve(
        &self,
        request: Request<wire::SolveRequest>,
    ) -> Result<Response<wire::SolveResponse>, Status> {
        self.note_grants(&request);
        let header = request.metadata().get(TRACE_PARENT).and_then(|value| value.to_str().ok());
        let parent = header.and_then(Parent::parse);
        let exporter_response = self.0.solve_within(request.into_inner(), parent).await?;
        Ok(Response::new(wire::SolveResponse { exporter_response }))
    }

    type StatusStream = Answers<wire::StatusResponse>;

    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<Self::StatusStream>, Status> {
        let job = self.0.server.jobs.get(&request.into_inner().r#ref).await?;
        Ok(dated(Box::pin(job.recorder.clone().watch())))
    }

    type SessionStream = Answers<wire::BytesMessage>;

    async fn session(
        &self,
        request: Request<Streaming<wire::BytesMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let told = |error| errors::status(&error);
        let (metadata, _, stream) = request.into_parts();
        let described = session::Described::of(&metadata.into_headers()).map_err(told)?;
        let (io, answers) = tunnel::open(stream);
        // The client speaks only once it is answered.
        let sessions = self.0.server.sessions.clone();
        tokio::spawn(async move {
            if let Err(error) = sessions.attach(described, io).await {
                tracing::info!(error = error.chain(), "a session could not begin");
            }
        });
        Ok(Response::new(Box::pin(Received(answers))))
    }

    async fn disk_usage(
        &self,
        request: Request<wire::DiskUsageRequest>,
    ) -> Result<Response<wire::DiskUsageResponse>, Status> {
        let filters = Filters::parse(&request.get_ref().filter).map_err(Status::invalid_argument)?;
        let engine = self.0.server.engine.clone();
        let records = self.0.server.blocking(move || cache::records(&engine)).await?;
        let records = records.into_iter().filter(|record| record.count > 0 && filters.take(record));
        Ok(Response::new(wire::DiskUsageResponse { record: records.map(usage_record).collect() }))
    }

    type PruneStream = Answers<wire::UsageRecord>;

    async fn prune(
        &self,
        request: Request<wire::PruneRequest>,
    ) -> Result<Response<Self::PruneStream>, Status> {
        let wire::PruneRequest { filter, all, keep_duration, reserved_space, max_used_space, min_free_space } =
            request.into_inner();
        let filters = Filters::parse(&filter).map_err(Status::invalid_argument)?;
        let keep = number("time", keep_duration)?.map(Duration::from_nanos);
        let bound = |number: Option<u64>| number.map(DiskSpace::Bytes);
        let space = GcSpace {
            reserved: bound(number("reserved space", reserved_space)?),
            max_used: bound(number("used space", max_used_space)?),
            min_free: bound(number("free space", min_free_space)?),
        };
        let engine = self.0.server.engine.clone();
        let (freed, results) = self
            .0
            .server
            .blocking(move || {
                let kinds = cache::chosen(&cache::records(&engine)?, &filters, all);
                shrink(&engine, kinds, keep, &space, SystemTime::now())
            })
            .await?;
        let description = format!("{results} results that builds remembered");
        let gone =
            cache::Record { id: CACHE, kind: RECORD_TYPE, description, size: freed, ..Default::default() };
        let gone = (freed > 0 || results > 0).then(|| Ok(usage_record(gone)));
        Ok(Response::new(Box::pin(iter(gone))))
    }

    type ListenBuildHistoryStream = Answers<wire::BuildHistoryEvent>;

    async fn listen_build_history(
        &self,
        request: Request<wire::BuildHistoryRequest>,
    ) -> Result<Response<Self::ListenBuildHistoryStream>, Status> {
        Ok(dated(Box::pin(history::listen(&self.0.server.jobs, &request.into_inner())?)))
    }

    async fn update_build_history(
        &self,
        request: Request<wire::UpdateBuildHistoryRequest>,
    ) -> Result<Response<wire::UpdateBuildHistoryResponse>, Status> {
        history::update(&self.0.server.jobs, &request.into_inner())?;
        Ok(Response::new(wire::UpdateBuildHistoryResponse {}))
    }
}

impl Service {
    /// Notes who asked for more than is usual, and whether they get it.
    fn note_grants(&self, request: &Request<wire::SolveRequest>) {
        let wire::SolveRequest { entitlements: asked, r#ref: build, .. } = request.get_ref();
        if !asked.is_empty() {
            let granted = attributes::entitlements(asked, &self.0.server.options.entitlements).is_ok();
            let peer = request.extensions().get::<Peer>().map(ToString::to_string).unwrap_or_default();
            tracing::info!(peer, build, ?asked, granted, "entitlements of a build");
        }
    }
}

/// An answer that says what time it is here: clients compare the times of builds with that, and some do not ask whether it
/// was said.
fn dated<T>(answers: Answers<T>) -> Response<Answers<T>> {
    let mut response = Response::new(answers);
    if let Ok(now) = jiff::Timestamp::now().to_string().parse() {
        response.metadata_mut().insert(NOW, now);
    }
    response
}

/// A bound of a prune, none where it is 0. One below that is refused: without it more would go.
fn number(name: &str, number: i64) -> Result<Option<u64>, Status> {
    let wrong = |_| Status::invalid_argument(format!("a bound of {name} below zero: {number}"));
    Ok(Some(u64::try_from(number).map_err(wrong)?).filter(|number| *number > 0))
}

fn usage_record(record: cache::Record) -> wire::UsageRecord {
    wire::UsageRecord {
        id: record.id.to_owned(),
        mutable: record.mutable,
        in_use: record.in_use,
        size: i64::try_from(record.size).unwrap_or(i64::MAX),
        description: record.description,
        record_type: record.kind.to_owned(),
        ..wire::UsageRecord::default()
    }
}

/// What a channel gives, as a stream.
struct Received(mpsc::Receiver<Result<wire::BytesMessage, Status>>);

impl Stream for Received {
    type Item = Result<wire::BytesMessage, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
