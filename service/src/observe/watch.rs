//! A build's steps, noted while somebody else is told of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use kiln_engine::progress::{Event, EventKind, ProgressSink, StepId};
use kiln_engine::{Error, ErrorKind};

use super::{Build, Observer, Outcome, Step};

/// Notes what happens, and hands it on.
pub(crate) struct Watched<S> {
    inner: Arc<S>,
    frontend: &'static str,
    began: SystemTime,
    steps: Mutex<BTreeMap<u32, Step>>,
}

impl<S: ProgressSink> Watched<S> {
    /// A build of `frontend` begins.
    pub(crate) fn begin(frontend: &'static str, inner: Arc<S>) -> Arc<Watched<S>> {
        Arc::new(Watched { inner, frontend, began: SystemTime::now(), steps: Mutex::default() })
    }

    /// It ended.
    pub(crate) fn end<T>(&self, result: &Result<T, Error>, observer: &Observer) {
        let outcome = match result {
            Ok(_) => Outcome::Completed,
            Err(error) if error.kind == ErrorKind::Cancelled => Outcome::Cancelled,
            Err(error) => Outcome::Failed(error.chain()),
        };
        let steps = std::mem::take(&mut *self.steps()).into_values().collect();
        let (frontend, began, ended) = (self.frontend.to_owned(), self.began, SystemTime::now());
        observer.build(Build {
            reference: String::new(),
            frontend,
            began,
            ended,
            outcome,
            steps,
            parent: None,
        });
    }

    fn note(&self, event: &Event) {
        let Event { at, step: StepId(number), kind } = event;
        let mut steps = self.steps();
        if let EventKind::Registered { name, digest, .. } = kind {
            let digest = digest.as_ref().map(ToString::to_string).unwrap_or_default();
            steps.insert(*number, Step { name: name.clone(), digest, ..Step::default() });
            return;
        }
        let Some(step) = steps.get_mut(number) else { return };
        let error = match kind {
            EventKind::Started => {
                step.began = Some(*at);
                return;
            }
            EventKind::Cached => {
                step.cached = true;
                ""
            }
            EventKind::Done => "",
            EventKind::Failed(why) => why,
            EventKind::Cancelled => "cancelled",
            _ => return,
        };
        step.error = error.to_owned();
        step.began.get_or_insert(*at);
        step.ended = Some(*at);
    }

    fn steps(&self) -> MutexGuard<'_, BTreeMap<u32, Step>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: ProgressSink> ProgressSink for Watched<S> {
    fn event(&self, event: Event) {
        self.note(&event);
        self.inner.event(event);
    }
}
