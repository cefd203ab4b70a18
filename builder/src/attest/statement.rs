//! in-toto statements: what is said (a predicate), of what (subjects). Not signed.

use kiln_oci::{Digest, Platform, Reference};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::purl::Purl;

/// The predicate type of a provenance, SLSA 1.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// The predicate type of a list of packages, SPDX.
pub const SPDX: &str = "https://spdx.dev/Document";
/// The most bytes of a statement that is read (40 MiB are BuildKit's limit for one that is written).
pub const MAX_STATEMENT: u64 = 64 << 20;
/// The most bytes of what a statement says that is written: the names of what it is about come beside it.
pub const MAX_PREDICATE: u64 = MAX_STATEMENT - (1 << 20);
/// The media type of a statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";
/// The name of a subject that has none.
const NAMELESS: &str = "_";

/// A statement. Its predicate keeps its bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    /// What the predicate is.
    pub predicate_type: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// What is said.
    pub predicate: Box<RawValue>,
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name, for images a package URL.
    pub name: String,
    digest: serde_json::Map<String, serde_json::Value>,
}

impl Subject {
    /// Content by its digest.
    pub fn new(name: impl Into<String>, digest: &Digest) -> Subject {
        let mut set = serde_json::Map::new();
        set.insert(digest.algorithm().name().to_owned(), digest.hex().into());
        Subject { name: name.into(), digest: set }
    }

    /// An image, once for each of its names.
    pub fn of_image(names: &[Reference], platform: &Platform, manifest: &Digest) -> Vec<Subject> {
        match names {
            [] => vec![Subject::new(NAMELESS, manifest)],
            names => {
                let purl = |name: &Reference| Purl::of_image(name, Some(platform)).to_string();
                names.iter().map(|name| Subject::new(purl(name), manifest)).collect()
            }
        }
    }

    /// Whether it is the content with this digest.
    pub fn is(&self, digest: &Digest) -> bool {
        self.digest.get(digest.algorithm().name()).is_some_and(|hex| hex.as_str() == Some(digest.hex()))
    }
}

impl Statement {
    /// What `predicate` says of `subject`.
    pub fn new(predicate_type: &str, predicate: Box<RawValue>, subject: Vec<Subject>) -> Statement {
        let kind = STATEMENT_V1.to_owned();
        Statement { kind, predicate_type: predicate_type.to_owned(), subject, predicate }
    }

    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Statement, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The same about `to` where it was about `from`: a manifest that became another one by packing its layers.
    pub fn moved(mut self, from: &Digest, to: &Digest) -> Statement {
        for subject in self.subject.iter_mut().filter(|subject| subject.is(from)) {
            *subject = Subject::new(std::mem::take(&mut subject.name), to);
        }
        self
    }

    /// The document's bytes, always the same for the same value.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(digest: &Digest) -> Statement {
        let predicate = RawValue::from_string(r#"{"b":1,  "a":2}"#.to_owned()).unwrap();
        let names = ["app:1".parse().unwrap(), "r.example/app:2".parse().unwrap()];
        let subject = Subject::of_image(&names, &Platform::new("linux", "amd64", None), digest);
        Statement::new(SPDX, predicate, subject)
    }

    #[test]
    fn one_subject_a_name() {
        let digest = Digest::of(b"manifest");
        let text = String::from_utf8(statement(&digest).to_bytes()).unwrap();
        let hex = digest.hex();
        assert_eq!(
            text,
            format!(
                r#"{{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://spdx.dev/Document","subject":[{{"name":"pkg:docker/app@1?platform=linux%2Famd64","digest":{{"sha256":"{hex}"}}}},{{"name":"pkg:docker/r.example/app@2?platform=linux%2Famd64","digest":{{"sha256":"{hex}"}}}}],"predicate":{{"b":1,  "a":2}}}}"#
            )
        );
        let nameless = Subject::of_image(&[], &Platform::host(), &digest);
        assert_eq!(nameless, [Subject::new("_", &digest)]);
    }

    #[test]
    fn a_statement_follows_its_manifest_and_no_other() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let moved = Statement::parse(&statement(&old).to_bytes()).unwrap().moved(&old, &new);
        assert_eq!(moved.to_bytes(), statement(&new).to_bytes());
        let kept = statement(&new).moved(&old, &Digest::of(b"third"));
        assert_eq!(kept.to_bytes(), statement(&new).to_bytes());
    }
}
