//! Why a step runs, told where it was asked for.

use std::sync::Arc;

use super::blocking;
use super::step::{StepRun, layers_of};
use crate::explain::{self, Explanation};
use crate::flight::Crowd;
use crate::progress::{EventKind, Reporter};
use crate::value::Value;

impl StepRun {
    /// In what the step differs from what is remembered, as long as it is not remembered itself. A failure to find out is
    /// none of the step.
    pub(super) async fn why(self: &Arc<Self>) -> Option<Explanation> {
        if !self.explain || !self.op.remembered() {
            return None;
        }
        if self.fresh {
            let text = "it is not to be taken from the cache".to_owned();
            return Some(Explanation { text, earlier: None });
        }
        let this = self.clone();
        blocking(move || this.records.explain(&this.name, &this.likeness)).await.ok().flatten()
    }

    /// Tells it, with the files that made the difference where the result shows them.
    pub(super) async fn tell_why(
        self: &Arc<Self>,
        why: Option<Explanation>,
        outputs: Option<&[Value]>,
        crowd: &Crowd,
    ) {
        let Some(Explanation { mut text, earlier }) = why else { return };
        let result = outputs.and_then(|outputs| layers_of(outputs).into_iter().next());
        if let (true, Some(earlier), Some(now)) = (self.op.shows_files(), earlier, result) {
            let this = self.clone();
            let changed = blocking(move || this.records.changed_files(&earlier, &now)).await;
            let changed = changed.unwrap_or_default();
            if !changed.is_empty() {
                text = format!("{text}: {}", explain::files(&changed));
            }
        }
        crowd.report(EventKind::Explained(text));
    }
}
