//! What is known of the steps of a build, as the renderers need it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use kiln_engine::oci::Digest;
use kiln_engine::progress::{Event, EventKind, StepId};

use super::moved::Moved;

/// Where a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Waiting,
    Running,
    Cached,
    Done,
    Failed(String),
    Cancelled,
}

/// One step.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) digest: Digest,
    pub(super) inputs: Vec<StepId>,
    pub(super) phase: Phase,
    pub(super) started: Option<SystemTime>,
    pub(super) ended: Option<SystemTime>,
    /// By what is moved.
    pub(super) transfers: BTreeMap<String, Moved>,
}

impl Step {
    /// How long it took, or has taken until `now`.
    pub(super) fn elapsed(&self, now: SystemTime) -> Duration {
        let until = self.ended.unwrap_or(now);
        self.started.and_then(|started| until.duration_since(started).ok()).unwrap_or_default()
    }
}

/// All steps, in the order in which they were heard of.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) all: BTreeMap<StepId, Step>,
}

impl Steps {
    /// Writes down what an event says.
    pub(super) fn apply(&mut self, event: &Event) {
        if let EventKind::Registered { name, digest, inputs, .. } = &event.kind {
            let digest =
                digest.clone().unwrap_or_else(|| Digest::of(format!("{} {name}", event.step.0).as_bytes()));
            self.all.entry(event.step).or_insert_with(|| Step {
                name: name.clone(),
                digest,
                inputs: inputs.clone(),
                phase: Phase::Waiting,
                started: None,
                ended: None,
                transfers: BTreeMap::new(),
            });
            return;
        }
        let Some(step) = self.all.get_mut(&event.step) else { return };
        let end = match &event.kind {
            EventKind::Started => {
                step.phase = Phase::Running;
                step.started.get_or_insert(event.at);
                return;
            }
            EventKind::Transfer(transfer) => return Moved::note(&mut step.transfers, transfer, event.at),
            // A source was not made, so it is not remembered either: it is there.
            EventKind::Cached if step.inputs.is_empty() => Phase::Done,
            EventKind::Cached => Phase::Cached,
            EventKind::Done => Phase::Done,
            EventKind::Failed(why) => Phase::Failed(why.clone()),
            EventKind::Cancelled => Phase::Cancelled,
            EventKind::Registered { .. }
            | EventKind::Log { .. }
            | EventKind::Explained(_)
            | EventKind::Warning(_) => return,
        };
        step.phase = end;
        step.started.get_or_insert(event.at);
        step.ended = Some(event.at);
    }

    pub(super) fn get(&self, id: StepId) -> Option<&Step> {
        self.all.get(&id)
    }
}
