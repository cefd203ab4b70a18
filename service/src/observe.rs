//! What the daemon counts, and whom it tells how a build went.
//!
//! ```text
//! a build that ended --> Metrics --GET /metrics--> text
//!                   \--> trace --queue--> otlp --POST--> collector
//! ```

mod metrics;
mod otlp;
mod trace;
mod watch;

use std::fmt;
use std::time::SystemTime;

use metrics::Metrics;
pub(crate) use metrics::{Gauges, PATH};
pub use otlp::{Traces, TracesError};
pub(crate) use trace::Parent;
pub(crate) use watch::Watched;

/// Who counts and tells.
#[derive(Default)]
pub struct Observer {
    metrics: Metrics,
    traces: Option<otlp::Queue>,
}

/// A build that ended.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    /// What its client called it.
    pub(crate) reference: String,
    /// What read it, such as `dockerfile.v0`.
    pub(crate) frontend: String,
    pub(crate) began: SystemTime,
    pub(crate) ended: SystemTime,
    pub(crate) outcome: Outcome,
    pub(crate) steps: Vec<Step>,
    /// The span of the client that it is a part of.
    pub(crate) parent: Option<Parent>,
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Completed,
    Cancelled,
    Failed(String),
}

/// A step of a build; without a beginning it was not needed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) digest: String,
    pub(crate) began: Option<SystemTime>,
    pub(crate) ended: Option<SystemTime>,
    pub(crate) cached: bool,
    /// Why it failed; empty where it did not.
    pub(crate) error: String,
}

impl Observer {
    /// One that sends a trace of each build where `traces` says; in a runtime.
    pub(crate) fn start(traces: Option<Traces>) -> Observer {
        Observer { metrics: Metrics::default(), traces: traces.map(otlp::start) }
    }

    /// A request was answered with this status.
    pub(crate) fn request(&self, status: u16) {
        self.metrics.request(status);
    }

    /// A build ended.
    pub(crate) fn build(&self, build: Build) {
        self.metrics.build(&build);
        if let Some(queue) = &self.traces {
            queue.push(build);
        }
    }

    /// How many builds ended.
    pub(crate) fn builds(&self) -> u64 {
        self.metrics.builds()
    }

    /// Everything as Prometheus reads it.
    pub(crate) fn text(&self, gauges: &Gauges) -> String {
        self.metrics.text(gauges, self.traces.as_ref().map_or(0, otlp::Queue::lost))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}
