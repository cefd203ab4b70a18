//! A case as it is written down: `testdata/conformance/TOPIC.toml` has many.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;

/// A Dockerfile, the files around it, and what is special about building it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Case {
    /// The file it is in, without extension.
    #[serde(skip)]
    pub topic: String,
    /// Its name, unique within the topic.
    pub name: String,
    /// What it shows, where the name does not say it.
    pub note: String,
    /// The numbers of the language's subtle items that it covers (`docs/language.md`).
    pub items: Vec<u8>,
    /// The Dockerfile frontend that brought the feature, where Docker's engine 20.10 does not know it.
    pub since: Option<String>,
    /// The Dockerfile's text.
    pub dockerfile: String,
    /// The context's files by path.
    pub files: BTreeMap<String, FileSpec>,
    /// Values of ARGs.
    pub build_args: BTreeMap<String, String>,
    /// Labels from the command line.
    pub labels: BTreeMap<String, String>,
    /// The stage to build, where it is not the last.
    pub target: Option<String>,
    /// The platform asked for.
    pub platform: Option<String>,
    /// No builder takes it, and kiln's message has this text.
    pub rejected: Option<String>,
}

/// A file of the context: its text, or more than that.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum FileSpec {
    /// A regular file's content.
    Text(String),
    /// Anything else.
    Special(Special),
}

/// A file with more to say than its content.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Special {
    /// A regular file's content.
    pub text: Option<String>,
    /// A symbolic link's target.
    pub link: Option<String>,
    /// The files in an archive, whose compression the name's ending tells.
    pub archive: Option<BTreeMap<String, FileSpec>>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// User and group.
    pub owner: Option<[u32; 2]>,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Topic {
    case: Vec<Case>,
}

impl Case {
    /// The base image of nearly all cases and nothing else, to which the others' images are compared.
    pub fn base() -> Case {
        let [topic, name, dockerfile] = ["base", "base", "FROM busybox\n"].map(str::to_owned);
        Case { topic, name, dockerfile, ..Case::default() }
    }

    /// `topic/name`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.topic, self.name)
    }
}

/// Every case of `folder`, by topic and in the order of the file.
pub fn load(folder: &Path) -> io::Result<Vec<Case>> {
    let mut files: Vec<_> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|e| e == "toml") && !file.ends_with("known.toml"));
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let topic = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        cases.extend(read(&topic, &fs::read_to_string(&file)?)?);
    }
    Ok(cases)
}

fn read(topic: &str, text: &str) -> io::Result<Vec<Case>> {
    let invalid =
        |problem: String| io::Error::new(io::ErrorKind::InvalidData, format!("{topic}.toml: {problem}"));
    let mut cases = toml::from_str::<Topic>(text).map_err(|error| invalid(error.to_string()))?.case;
    let mut names = BTreeSet::new();
    for case in &mut cases {
        topic.clone_into(&mut case.topic);
        if case.name.is_empty() || !names.insert(case.name.clone()) {
            return Err(invalid(format!("the name `{}` is empty or given twice", case.name)));
        }
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_read() {
        let text = "[[case]]\nname = 'a'\nitems = [1]\ndockerfile = 'FROM scratch'\n[case.files]\nf = 'text'\n'l' = { link = 'f' }\n";
        let cases = read("t", text).unwrap();
        assert_eq!(cases[0].id(), "t/a");
        assert!(matches!(&cases[0].files["f"], FileSpec::Text(text) if text == "text"));
        assert!(
            matches!(&cases[0].files["l"], FileSpec::Special(Special { link: Some(to), .. }) if to == "f")
        );
    }

    #[test]
    fn names_are_unique_and_keys_are_known() {
        for text in ["[[case]]\nname='a'\n[[case]]\nname='a'", "[[case]]\n", "[[case]]\nname='a'\nfile='x'"] {
            assert!(read("t", text).is_err(), "{text}");
        }
    }
}
