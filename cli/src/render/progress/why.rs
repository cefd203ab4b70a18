//! Why steps ran, one line a step, for the end of a build.

use std::collections::HashMap;

use kiln_engine::progress::{Event, EventKind, StepId};

use crate::text;

/// What was told of it so far.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    names: HashMap<StepId, String>,
    told: Vec<(StepId, String)>,
}

impl Reasons {
    /// Keeps what an event says of it.
    pub(super) fn take(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Registered { name, .. } => drop(self.names.insert(event.step, name.clone())),
            EventKind::Explained(why) => self.told.push((event.step, why.clone())),
            _ => {}
        }
    }

    /// All of it; nothing where nobody asked.
    pub(super) fn summary(&self) -> String {
        let mut lines = String::new();
        let name = |id| self.names.get(id).map(String::as_str).unwrap_or_default();
        for (id, why) in &self.told {
            let head = if lines.is_empty() { "\nWhy steps ran:\n" } else { "" };
            let name: String = name(id).lines().next().unwrap_or_default().chars().take(MAX_NAME).collect();
            let line = format!("{name}: {why}");
            lines.push_str(&format!("{head}  {}\n", text::neutral(&line)));
        }
        lines
    }
}

/// Characters of a step's name.
const MAX_NAME: usize = 60;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn each_step_has_a_line_under_its_name() {
        let mut reasons = Reasons::default();
        assert_eq!(reasons.summary(), "");
        let name = "[2/2] RUN <<EOF\nmake\nEOF".to_owned();
        let registered = EventKind::Registered { name, digest: None, inputs: Vec::new(), stage: None };
        for kind in [registered, EventKind::Started, EventKind::Explained("`A` is gone\u{7}".to_owned())] {
            reasons.take(&Event { at: SystemTime::UNIX_EPOCH, step: StepId(3), kind });
        }
        assert_eq!(reasons.summary(), "\nWhy steps ran:\n  [2/2] RUN <<EOF: `A` is gone\\x07\n");
    }
}
