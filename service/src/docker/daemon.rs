//! What the routes share: the engine, what has happened, who waits for what.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use kiln_engine::{CancellationToken, Engine};
use tokio_util::task::TaskTracker;

use crate::buildkit::{self, BuildKit};

use super::build::Uploads;
use super::containers::runs::Runs;
use super::events::Events;
use super::exec::Execs;

/// The daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Daemon(Arc<Inner>);

/// See [`Daemon`].
pub struct Inner {
    pub(crate) engine: Engine,
    pub(crate) buildkit: BuildKit,
    /// What programs that fetch for a build find in their environment.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) events: Events,
    pub(crate) runs: Runs,
    pub(crate) execs: Execs,
    pub(crate) uploads: Uploads,
    /// Cancelled when it is time to stop.
    pub(crate) stop: CancellationToken,
    /// Builds and other work that goes on for a moment when its client has gone away.
    pub(crate) work: TaskTracker,
}

impl Daemon {
    /// A daemon on `engine`, whose builds are given up at `stop`.
    pub fn new(engine: Engine, buildkit: buildkit::Options, stop: CancellationToken) -> Daemon {
        let environment = buildkit.environment.clone();
        let buildkit = BuildKit::new(engine.clone(), buildkit, stop.clone());
        let (events, runs, execs) = (Events::default(), Runs::default(), Execs::default());
        let (uploads, work) = (Uploads::default(), TaskTracker::new());
        Daemon(Arc::new(Inner { engine, buildkit, environment, events, runs, execs, uploads, stop, work }))
    }

    /// How many builds run.
    pub(crate) fn builds(&self) -> usize {
        self.buildkit.running() + self.work.len()
    }

    /// Waits until nothing is done any more.
    pub(crate) async fn ended(&self) {
        self.work.close();
        tokio::join!(self.work.wait(), self.buildkit.ended());
    }
}

impl Deref for Daemon {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("engine", &self.engine).finish_non_exhaustive()
    }
}
