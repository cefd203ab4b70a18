//! Why a step runs: in what it differs from the nearest step that is remembered.

use std::collections::BTreeMap;

use kiln_cache::{Part, Record};
use kiln_graph::url::redact;
use kiln_graph::{Op, SourceOp, Vertex};

use crate::key::KeyParts;

/// Characters of a value that are shown.
const MAX_SHOWN: usize = 160;
/// Names of files that are shown.
const MAX_FILES: usize = 3;
/// The part that is the whole operation.
const OPERATION: &str = "content: operation";
/// The part that says what input a number is: the base image, where it is one.
const IDENTITY: &str = " is";

/// What a step is compared by: the parts of its operation, and for each input what it is and its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Likeness {
    /// The parts, as they are remembered.
    pub parts: Vec<Part>,
    /// What people call the inputs.
    inputs: Vec<String>,
}

/// In what a step differs from one that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// One line, without the step's name.
    pub text: String,
    /// The remembered step, where files of an input are what differs.
    pub earlier: Option<Record>,
}

impl Likeness {
    /// The likeness of `vertex`, whose inputs are the vertices `below` and whose key by content is made of `key`.
    pub fn of(vertex: &Vertex, below: &[&Vertex], key: &KeyParts) -> Likeness {
        let op = vertex.op.parts().into_iter().map(|(name, value)| Part { name, value });
        let mut likeness = Likeness { parts: op.collect(), inputs: Vec::new() };
        likeness.parts.push(Part { name: OPERATION.to_owned(), value: key.op.to_string() });
        for (number, (input, digest)) in below.iter().zip(&key.inputs).enumerate() {
            let name = input_name(number);
            let (what, identity) = describe(input);
            likeness.inputs.push(what);
            if let Some(identity) = identity {
                likeness.parts.push(Part { name: format!("{name}{IDENTITY}"), value: identity });
            }
            likeness.parts.push(Part { name, value: digest.to_string() });
        }
        likeness
    }

    /// Compares with the nearest of `candidates`, the newest first.
    pub fn explain(&self, candidates: &[Record]) -> Explanation {
        let compared = candidates.iter().map(|record| (record, self.changes(&record.parts)));
        let nearest =
            compared.filter(|(_, changes)| !self.is_another(changes)).min_by_key(|(_, all)| all.len());
        let Some((record, changes)) = nearest else {
            return Explanation { text: "no step like it is remembered".to_owned(), earlier: None };
        };
        let texts: Vec<String> =
            changes.iter().filter_map(|change| self.sentence(change, &changes)).collect();
        let of_input = |change: &Change| self.input(change.name).is_some();
        Explanation {
            text: match texts.is_empty() {
                true => "nothing about it changed, but its result is not in the cache any more".to_owned(),
                false => texts.join("; "),
            },
            earlier: changes.iter().any(of_input).then(|| record.clone()),
        }
    }

    /// The parts that are not the same, those of the operation first.
    fn changes<'a>(&'a self, earlier: &'a [Part]) -> Vec<Change<'a>> {
        let then: BTreeMap<&str, &str> =
            earlier.iter().map(|part| (part.name.as_str(), part.value.as_str())).collect();
        let is_known = |name: &str| self.parts.iter().any(|part| part.name == name);
        let mut changes = Vec::new();
        for Part { name, value } in &self.parts {
            let (now, then) = (Some(value.as_str()), then.get(name.as_str()).copied());
            if now != then {
                changes.push(Change { name, then, now });
            }
        }
        let gone = earlier.iter().filter(|part| !is_known(&part.name) && !is_of_key(&part.name));
        changes.extend(gone.map(|part| Change { name: &part.name, then: Some(&part.value), now: None }));
        changes
    }

    /// Whether the step that was compared is another one: it does something else to something else.
    fn is_another(&self, changes: &[Change<'_>]) -> bool {
        let differs = |name: &str| changes.iter().any(|change| change.name == name);
        let does_else =
            self.parts.first().is_some_and(|part| self.input(&part.name).is_none() && differs(&part.name));
        let inputs = (0..self.inputs.len()).map(input_name);
        does_else && inputs.into_iter().all(|name| differs(&name))
    }

    fn input(&self, name: &str) -> Option<&str> {
        let number = (0..self.inputs.len()).find(|number| input_name(*number) == name)?;
        Some(&self.inputs[number])
    }

    fn sentence(&self, change: &Change<'_>, all: &[Change<'_>]) -> Option<String> {
        let Change { name, then, now } = *change;
        if name == OPERATION {
            // Its parts say more than the whole.
            let told = all.iter().any(|other| !is_of_key(other.name));
            return (!told).then(|| "the instruction changed".to_owned());
        }
        if let Some(what) = self.input(name) {
            // What it is says more than its content.
            let identity = format!("{name}{IDENTITY}");
            let told = all.iter().any(|other| other.name == identity);
            return (!told).then(|| format!("{what} changed"));
        }
        let what = match name.strip_suffix(IDENTITY).and_then(|input| self.input(input)) {
            Some(what) => what,
            None => name,
        };
        Some(match (then.map(shorten), now.map(shorten)) {
            (Some(then), Some(now)) if then != now => format!("{what} is `{now}`, was `{then}`"),
            (Some(_), Some(_)) => format!("{what} changed"),
            (None, Some(now)) => format!("{what} is `{now}`, was not there"),
            (_, None) => format!("{what} is gone"),
        })
    }
}

/// A part that is not the same.
#[derive(Debug, Clone, Copy)]
struct Change<'a> {
    name: &'a str,
    then: Option<&'a str>,
    now: Option<&'a str>,
}

/// The same name as that of the content in a key.
fn input_name(number: usize) -> String {
    format!("content: input {number}")
}

/// Whether a remembered part is of the key alone and says nothing to people.
fn is_of_key(name: &str) -> bool {
    name.starts_with("definition: ") || name.starts_with("content: ")
}

/// What people call a vertex that others work on, and the image that it is.
fn describe(vertex: &Vertex) -> (String, Option<String>) {
    match &vertex.op {
        Op::Source(SourceOp::Image { reference, .. }) => {
            ("the base image".to_owned(), Some(reference.familiar()))
        }
        Op::Source(SourceOp::Local { name, .. }) if name == "context" => {
            ("what it takes of the build context".to_owned(), None)
        }
        Op::Source(SourceOp::Local { name, .. }) => (format!("what it takes of the context `{name}`"), None),
        Op::Source(SourceOp::Git { remote, .. }) => (format!("the repository `{}`", redact(remote)), None),
        Op::Source(SourceOp::Http { url, .. }) => (format!("the download `{}`", redact(url)), None),
        Op::Source(SourceOp::OciLayout { store, .. }) => (format!("the OCI layout `{store}`"), None),
        Op::Exec(_) | Op::File(_) | Op::Merge(_) | Op::Diff(_) => {
            (format!("what `{}` made", vertex.meta.name), None)
        }
    }
}

/// What the names of steps at the same place begin with: `[build 2/` of `[build 2/3] RUN make`, as both the number of the steps
/// and what they do may have changed.
pub fn place_of(name: &str) -> &str {
    let place = name.split_once(']').and_then(|(place, _)| place.rfind('/'));
    place.map_or(name, |slash| &name[..=slash])
}

/// Some of the names of files that changed.
pub fn files(paths: &[String]) -> String {
    let shown: Vec<String> = paths.iter().take(MAX_FILES).map(|path| format!("`/{path}`")).collect();
    match paths.len().saturating_sub(MAX_FILES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.len() < text.len() => format!("{line}…"),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(command: &str, version: &str, base: &str, content: &str) -> Likeness {
        let part = |name: &str, value: &str| Part { name: name.to_owned(), value: value.to_owned() };
        let parts = vec![
            part("command", command),
            part("variable `VERSION`", version),
            part(OPERATION, "the same"),
            part("content: input 0 is", base),
            part("content: input 0", content),
        ];
        Likeness { parts, inputs: vec!["the base image".to_owned()] }
    }

    fn record(step: &Likeness) -> Record {
        let key = Part { name: "definition: operation".to_owned(), value: step.parts[0].value.clone() };
        let parts = step.parts.iter().cloned().chain([key]).collect();
        Record { layers: Vec::new(), scope: "[2/2] RUN".to_owned(), parts }
    }

    fn explain(now: &Likeness, then: &[Likeness]) -> String {
        now.explain(&then.iter().map(record).collect::<Vec<_>>()).text
    }

    #[test]
    fn the_part_that_differs_is_named() {
        let then = [step("make", "1", "base@a", "a")];
        let expected = [
            (step("make all", "1", "base@a", "a"), "command is `make all`, was `make`"),
            (step("make", "2", "base@a", "a"), "variable `VERSION` is `2`, was `1`"),
            (step("make", "1", "base@b", "b"), "the base image is `base@b`, was `base@a`"),
            (step("make", "1", "base@a", "b"), "the base image changed"),
            (
                step("make", "1", "base@a", "a"),
                "nothing about it changed, but its result is not in the cache any more",
            ),
            (step("test", "1", "base@b", "b"), "no step like it is remembered"),
        ];
        for (now, text) in expected {
            assert_eq!(explain(&now, &then), text);
        }
        assert_eq!(explain(&then[0], &[]), "no step like it is remembered");
    }

    #[test]
    fn the_nearest_counts_and_not_the_newest() {
        let then = [step("test", "9", "base@a", "a"), step("make", "1", "base@a", "a")];
        assert_eq!(explain(&step("make", "2", "base@a", "a"), &then), "variable `VERSION` is `2`, was `1`");
    }

    #[test]
    fn what_no_part_says_is_said_of_the_whole() {
        let mut other = step("make", "1", "b", "c");
        other.parts[2].value = "another".to_owned();
        assert_eq!(explain(&other, &[step("make", "1", "b", "c")]), "the instruction changed");
        assert_eq!(explain(&other, &[step("all", "1", "b", "c")]), "command is `make`, was `all`");
    }

    #[test]
    fn variables_come_and_go() {
        let (with, mut without) = (step("make", "1", "b", "c"), step("make", "1", "b", "c"));
        without.parts.remove(1);
        assert_eq!(explain(&without, std::slice::from_ref(&with)), "variable `VERSION` is gone");
        assert_eq!(explain(&with, &[without]), "variable `VERSION` is `1`, was not there");
    }

    #[test]
    fn long_values_are_cut_and_still_differ() {
        let long = |end: &str| step(&format!("{}{end}", "é".repeat(200)), "1", "b", "c");
        assert_eq!(explain(&long("a"), &[long("b")]), "command changed");
    }

    #[test]
    fn a_place_is_a_stage_and_a_number() {
        assert_eq!(place_of("[build 2/3] RUN make a/b]"), "[build 2/");
        assert_eq!(place_of("[linux/amd64 2/3] RUN make"), "[linux/amd64 2/");
        assert_eq!(place_of("make"), "make");
        let paths = ["a", "b", "c", "d"].map(str::to_owned);
        assert_eq!(files(&paths), "`/a`, `/b`, `/c` and 1 more");
        assert_eq!(files(&paths[..1]), "`/a`");
    }
}
