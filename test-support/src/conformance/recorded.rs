//! The recorded results of a topic: `testdata/conformance/TOPIC.expected`, text that reads like a review.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::{Case, Picture};

/// The pictures of cases by topic and name.
#[derive(Debug, Default)]
pub struct Recorded(BTreeMap<String, BTreeMap<String, Picture>>);

impl Recorded {
    /// Reads what is recorded in `folder` for the topics of `cases`.
    pub fn load(folder: &Path, cases: &[Case]) -> io::Result<Recorded> {
        let mut recorded = Recorded::default();
        for case in cases {
            if !recorded.0.contains_key(&case.topic) {
                let text = read_or_empty(&folder.join(format!("{}.expected", case.topic)))?;
                recorded.0.insert(case.topic.clone(), parse(&text));
            }
        }
        Ok(recorded)
    }

    /// The picture of a case, if there is one.
    pub fn get(&self, case: &Case) -> Option<&Picture> {
        self.0.get(&case.topic)?.get(&case.name)
    }

    /// Records a case's picture.
    pub fn set(&mut self, case: &Case, picture: Picture) {
        self.0.entry(case.topic.clone()).or_default().insert(case.name.clone(), picture);
    }

    /// Writes the topics of `cases`, in the order of the cases; what is no case any more is left out.
    pub fn save(&self, folder: &Path, cases: &[Case]) -> io::Result<()> {
        let mut texts: BTreeMap<&str, String> = BTreeMap::new();
        for case in cases {
            if let Some(picture) = self.get(case) {
                texts.entry(&case.topic).or_default().push_str(&text(&case.name, picture));
            }
        }
        texts.iter().try_for_each(|(topic, text)| {
            fs::write(folder.join(format!("{topic}.expected")), text.trim_start())
        })
    }
}

fn read_or_empty(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

fn text(name: &str, picture: &Picture) -> String {
    let facts: String = picture.iter().map(|(what, text)| format!("{what}: {text}\n")).collect();
    format!("\n# {name}\n{facts}")
}

fn parse(text: &str) -> BTreeMap<String, Picture> {
    let mut cases: BTreeMap<String, Picture> = BTreeMap::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(next) = line.strip_prefix("# ") {
            name = next;
            cases.insert(name.to_owned(), Picture::new());
        } else if let Some((what, text)) = line.split_once(": ") {
            cases.entry(name.to_owned()).or_default().insert(what.to_owned(), text.to_owned());
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let picture = Picture::from([
            ("config.Env".to_owned(), r#"["A=1: 2"]"#.to_owned()),
            ("file /a".to_owned(), "file 644 0:0 \"x\\n\"".to_owned()),
        ]);
        let written = text("one", &picture) + &text("none", &Picture::new());
        let read = parse(&written);
        assert_eq!(read["one"], picture);
        assert!(read["none"].is_empty());
    }
}
