//! Cache keys: what a vertex's result is remembered under.

use std::fmt;

use kiln_oci::{Digest, Digester};

/// Changes whenever the meaning of keys or the content of results changes; older records are then never found.
const KEY_VERSION: &str = "kiln.key.v1";

/// What a result is remembered under. The op's digest and one digest for each input, nothing else, make a key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(Digest);

/// The parts that made a key, kept so that a miss can be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyParts {
    /// Whether inputs stand here by definition or by content.
    pub kind: KeyKind,
    /// The digest of the op.
    pub op: Digest,
    /// One part an input.
    pub inputs: Vec<Digest>,
}

/// How the inputs of a key are identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// By how they are made.
    Definition,
    /// By what they are.
    Content,
    /// By a source's pin: manifest, commit, tree.
    Source,
}

impl KeyKind {
    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            KeyKind::Definition => "definition",
            KeyKind::Content => "content",
            KeyKind::Source => "source",
        }
    }
}

impl KeyParts {
    /// The key that the parts make. Lengths are written before texts, so no two lists of parts look alike.
    pub fn key(&self) -> CacheKey {
        let KeyParts { kind, op, inputs } = self;
        let mut digester = Digester::sha256();
        let mut part = |text: &str| {
            digester.update(&(text.len() as u64).to_le_bytes());
            digester.update(text.as_bytes());
        };
        part(KEY_VERSION);
        part(kind.name());
        part(op.as_str());
        inputs.iter().for_each(|input| part(input.as_str()));
        CacheKey(digester.finish())
    }
}

impl CacheKey {
    /// What an output of the vertex is remembered under.
    pub fn output(&self, output: u32) -> Digest {
        match output {
            0 => self.0.clone(),
            n => Digest::of(format!("{} output {n}", self.0).as_bytes()),
        }
    }

    /// A key that no other build has, for a vertex whose remembered result must not be used.
    pub fn salted(&self, salt: &str) -> CacheKey {
        CacheKey(Digest::of(format!("{} only {salt}", self.0).as_bytes()))
    }

    /// The digest.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(kind: KeyKind, op: &str, inputs: &[&str]) -> CacheKey {
        let inputs = inputs.iter().map(|text| Digest::of(text.as_bytes())).collect();
        KeyParts { kind, op: Digest::of(op.as_bytes()), inputs }.key()
    }

    #[test]
    fn every_part_counts() {
        let key = parts(KeyKind::Definition, "op", &["a", "b"]);
        assert_eq!(key, parts(KeyKind::Definition, "op", &["a", "b"]));
        assert_ne!(key, parts(KeyKind::Content, "op", &["a", "b"]));
        assert_ne!(key, parts(KeyKind::Definition, "other", &["a", "b"]));
        assert_ne!(key, parts(KeyKind::Definition, "op", &["b", "a"]));
        assert_ne!(key, parts(KeyKind::Definition, "op", &["a"]));
    }

    #[test]
    fn outputs_and_salts_make_other_keys() {
        let key = parts(KeyKind::Definition, "op", &[]);
        assert_eq!(&key.output(0), key.digest());
        assert_ne!(key.output(1), key.output(0));
        assert_ne!(key.salted("a"), key.salted("b"));
    }
}
