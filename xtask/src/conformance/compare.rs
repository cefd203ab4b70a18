//! Two outcomes of one case, fact by fact.

use std::collections::BTreeSet;

use super::builders::Outcome;

/// A fact that two builders made different.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Which fact.
    pub(crate) what: String,
    /// What it is in kiln's image.
    pub(crate) ours: String,
    /// What it is in the other's.
    pub(crate) theirs: String,
}

impl Difference {
    /// That the two could not be compared.
    pub(crate) fn broken(error: &anyhow::Error) -> Self {
        let what = "the comparison".to_owned();
        Difference { what, ours: format!("{error:#}"), theirs: "not compared".to_owned() }
    }
}

/// How many lines of a rejecting builder are told.
const TOLD: usize = 12;

/// All facts that differ; none where both reject.
pub(crate) fn differences(ours: &Outcome, theirs: &Outcome) -> Vec<Difference> {
    let (ours, theirs) = match (ours, theirs) {
        (Outcome::Rejected(_), Outcome::Rejected(_)) => return Vec::new(),
        (Outcome::Image(ours), Outcome::Image(theirs)) => (ours, theirs),
        (ours, theirs) => {
            return vec![Difference { what: "the build".to_owned(), ours: tell(ours), theirs: tell(theirs) }];
        }
    };
    let facts: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let text = |value: Option<&String>| value.map_or("as in the base", String::as_str).to_owned();
    facts
        .into_iter()
        .filter(|what| ours.get(*what) != theirs.get(*what))
        .map(|what| Difference {
            what: what.clone(),
            ours: text(ours.get(what)),
            theirs: text(theirs.get(what)),
        })
        .collect()
}

fn tell(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Image(_) => "succeeds".to_owned(),
        Outcome::Rejected(said) => {
            let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
            format!("fails: {}", lines[lines.len().saturating_sub(TOLD)..].join("\n    "))
        }
    }
}

#[cfg(test)]
mod tests {
    use kiln_test_support::conformance::Picture;

    use super::*;

    fn image(facts: &[(&str, &str)]) -> Outcome {
        Outcome::Image(
            facts.iter().map(|(what, is)| ((*what).to_owned(), (*is).to_owned())).collect::<Picture>(),
        )
    }

    #[test]
    fn facts_are_compared_one_by_one() {
        let found = differences(&image(&[("a", "1"), ("b", "1")]), &image(&[("a", "1"), ("c", "2")]));
        let told: Vec<_> = found.iter().map(|d| (&d.what[..], &d.ours[..], &d.theirs[..])).collect();
        assert_eq!(told, [("b", "1", "as in the base"), ("c", "as in the base", "2")]);
    }

    #[test]
    fn rejecting_is_one_fact() {
        let rejected = || Outcome::Rejected("no\n".to_owned());
        assert!(differences(&rejected(), &rejected()).is_empty());
        let found = differences(&image(&[("a", "1")]), &rejected());
        assert_eq!((&found[0].ours[..], &found[0].theirs[..]), ("succeeds", "fails: no"));
    }
}
