//! The builds of this process, those that run and those that ran, as records for clients.

mod filter;

use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use futures_util::stream::{Stream, StreamExt as _, iter, unfold};
use tokio::sync::broadcast::error::RecvError;
use tonic::Status;

use super::blobs;
use super::jobs::{Job, Jobs, News};
use super::status::timestamp;
use filter::Filter;

/// The most records that are kept however many come after them.
const MAX_PINNED: usize = 50;

/// The records that a client asks for, then what happens unless it wants no more.
pub(super) fn listen(
    jobs: &Jobs,
    request: &wire::BuildHistoryRequest,
) -> Result<impl Stream<Item = Result<wire::BuildHistoryEvent, Status>> + use<>, Status> {
    let wire::BuildHistoryRequest { active_only, r#ref, early_exit, filter, limit } = request;
    let filters = filter
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| Filter::parse(text))
        .collect::<Result<Vec<_>, Status>>()?;
    let (reference, active_only) = (r#ref.clone(), *active_only);
    let wanted = move |job: &Arc<Job>| {
        !job.internal
            && (reference.is_empty() || job.reference == reference)
            && (!active_only || job.outcome().is_none())
            && (filters.is_empty() || filters.iter().any(|filter| filter.takes(job)))
    };
    // Before the list, so that nothing falls between the two.
    let news = jobs.listen();
    let mut known: Vec<Arc<Job>> = jobs.all().into_iter().filter(|job| wanted(job)).collect();
    if let Ok(limit @ 1..) = usize::try_from(*limit) {
        known.drain(..known.len().saturating_sub(limit));
    }
    let known: Vec<_> = known.iter().map(|job| Ok(event(job))).collect();
    let later = unfold(news, |mut news| async move {
        loop {
            match news.recv().await {
                Ok(told) => return Some((told, news)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let later = later.filter_map(move |told| {
        let event = match told {
            News::Began(job) | News::Ended(job) if wanted(&job) => Some(event(&job)),
            News::Forgotten(job) if wanted(&job) => {
                let r#type = wire::BuildHistoryEventType::Deleted.into();
                Some(wire::BuildHistoryEvent { r#type, record: Some(record(&job)) })
            }
            _ => None,
        };
        std::future::ready(event.map(Ok))
    });
    let more = if *early_exit { 0 } else { usize::MAX };
    Ok(iter(known).chain(later.take(more).take_until(jobs.stopped())))
}

/// Pins a record, lets it go, or forgets it.
pub(super) fn update(jobs: &Jobs, request: &wire::UpdateBuildHistoryRequest) -> Result<(), Status> {
    let wire::UpdateBuildHistoryRequest { r#ref, pinned, delete, finalize } = request;
    let found = jobs.all().into_iter().find(|job| job.reference == *r#ref);
    let job = found.ok_or_else(|| Status::not_found(format!("no build {}", r#ref.escape_debug())))?;
    match (delete, finalize) {
        (true, _) if !jobs.forget(r#ref) => Err(Status::failed_precondition("the build runs")),
        (true, _) | (_, true) => Ok(()),
        _ if *pinned && jobs.all().iter().filter(|job| job.is_pinned()).count() >= MAX_PINNED => {
            Err(Status::resource_exhausted(format!("{MAX_PINNED} builds are pinned already: unpin one")))
        }
        (false, false) => {
            job.pin(*pinned);
            Ok(())
        }
    }
}

fn event(job: &Job) -> wire::BuildHistoryEvent {
    let kind = match job.outcome() {
        None => wire::BuildHistoryEventType::Started,
        Some(_) => wire::BuildHistoryEventType::Complete,
    };
    wire::BuildHistoryEvent { r#type: kind.into(), record: Some(record(job)) }
}

fn record(job: &Job) -> wire::BuildHistoryRecord {
    let counts = job.recorder.counts();
    let (completed_at, answer) = job.outcome().map(|ended| (timestamp(ended.at), ended.answer)).unzip();
    let (exporter_response, error) = match answer {
        Some(Ok(response)) => (response, None),
        Some(Err(error)) => (std::collections::HashMap::new(), Some(error)),
        None => Default::default(),
    };
    let mut record = wire::BuildHistoryRecord {
        r#ref: job.reference.clone(),
        frontend: job.asked.frontend.clone(),
        frontend_attrs: job.asked.attributes.clone(),
        exporters: job.asked.exporters.clone(),
        error,
        created_at: Some(timestamp(job.began)),
        completed_at,
        exporter_response,
        pinned: job.is_pinned(),
        num_cached_steps: counts.cached,
        num_total_steps: counts.total,
        num_completed_steps: counts.completed,
        num_warnings: counts.warnings,
        ..wire::BuildHistoryRecord::default()
    };
    blobs::describe(job, &mut record);
    record
}
