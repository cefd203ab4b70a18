//! Differences that have a reason: `testdata/conformance/known.toml`.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use kiln_test_support::conformance::Case;
use serde::Deserialize;

use super::compare::Difference;

/// All of them, and which were needed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    #[serde(default)]
    difference: Vec<Entry>,
}

/// One reason and the differences that it explains: those that every given key matches.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Entry {
    /// The other builder; without it, any.
    builder: Option<String>,
    /// A case, or a topic with `/` at its end; without it, any.
    case: Option<String>,
    /// How the fact's name starts.
    fact: String,
    /// What kiln's fact contains.
    ours: String,
    /// What the other's contains.
    theirs: String,
    /// Why kiln is right to differ.
    reason: String,
    #[serde(skip)]
    used: AtomicBool,
}

impl Known {
    pub(crate) fn load(path: &Path) -> Result<Known> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is malformed", path.display()))
    }

    /// The reason for a difference, if there is one.
    pub(crate) fn reason(&self, builder: &str, case: &Case, difference: &Difference) -> Option<&str> {
        let entry = self.difference.iter().find(|entry| entry.explains(builder, &case.id(), difference))?;
        entry.used.store(true, Ordering::Relaxed);
        Some(&entry.reason)
    }

    /// Reasons that no difference needed, among those for builders that took part.
    pub(crate) fn unused(&self, builders: &[&str]) -> Vec<&str> {
        let took_part = |entry: &&Entry| entry.builder.as_deref().is_none_or(|name| builders.contains(&name));
        let unused = |entry: &&Entry| !entry.used.load(Ordering::Relaxed);
        self.difference.iter().filter(took_part).filter(unused).map(|entry| &entry.reason[..]).collect()
    }
}

impl Entry {
    fn explains(&self, builder: &str, case: &str, difference: &Difference) -> bool {
        let is_case =
            |wanted: &String| wanted == case || wanted.ends_with('/') && case.starts_with(&wanted[..]);
        self.builder.as_deref().is_none_or(|wanted| wanted == builder)
            && self.case.as_ref().is_none_or(is_case)
            && difference.what.starts_with(&self.fact)
            && difference.ours.contains(&self.ours)
            && difference.theirs.contains(&self.theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_explains_only_what_all_its_keys_match() {
        let text = "[[difference]]\nbuilder='b'\ncase='t/'\nfact='history.'\nours='x'\nreason='why'\n";
        let known: Known = toml::from_str(text).unwrap();
        let case = Case { topic: "t".into(), name: "n".into(), ..Case::default() };
        let other = Case { topic: "u".into(), name: "n".into(), ..Case::default() };
        let difference = |what: &str, ours: &str| Difference {
            what: what.into(),
            ours: ours.into(),
            theirs: String::new(),
        };
        assert_eq!(known.unused(&["b"]), ["why"]);
        assert_eq!(known.unused(&["c"]).len(), 0);
        assert_eq!(known.reason("b", &other, &difference("history.1", "x")), None);
        assert_eq!(known.reason("c", &case, &difference("history.1", "x")), None);
        assert_eq!(known.reason("b", &case, &difference("config.Env", "x")), None);
        assert_eq!(known.reason("b", &case, &difference("history.1", "y")), None);
        assert_eq!(known.reason("b", &case, &difference("history.1", "axb")), Some("why"));
        assert!(known.unused(&["b"]).is_empty());
    }
}
