//! The secrets of a build: where each comes from, read when a step asks for it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use kiln_builder::mounts::MAX_SECRET;
use kiln_builder::{Secrets, SessionError};

use crate::{Error, Result};

/// A secret for RUN steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSource {
    /// The name by which steps ask for it.
    pub id: String,
    /// Where its value is.
    pub value: SecretValue,
}

/// Where the value of a secret is.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretValue {
    /// In a file.
    File(PathBuf),
    /// Here.
    Bytes(Vec<u8>),
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretValue::File(path) => f.debug_tuple("File").field(path).finish(),
            SecretValue::Bytes(_) => f.write_str("Bytes"),
        }
    }
}

/// The secrets of one build by their names.
pub(super) struct SecretFiles(BTreeMap<String, SecretValue>);

impl SecretFiles {
    /// Of two with one name the later is meant. A file that is not there is an error now, not in the middle of a build.
    pub(super) fn open(sources: &[SecretSource]) -> Result<SecretFiles> {
        for source in sources {
            if let SecretValue::File(path) = &source.value {
                check(&source.id, path)?;
            }
        }
        Ok(SecretFiles(sources.iter().map(|source| (source.id.clone(), source.value.clone())).collect()))
    }
}

fn check(id: &str, path: &Path) -> Result<()> {
    let what = || format!("the file `{}` of the secret `{id}`", path.display());
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err(Error::invalid(format!("{} is a folder", what()))),
        Ok(meta) if meta.len() > MAX_SECRET as u64 => {
            Err(Error::invalid(format!("{} is larger than {} KiB", what(), MAX_SECRET >> 10)))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(Error::not_found(format!("cannot read {}", what())).caused_by(error)),
    }
}

impl Secrets for SecretFiles {
    fn secret(&self, id: &str) -> std::result::Result<Option<Vec<u8>>, SessionError> {
        let path = match self.0.get(id) {
            None => return Ok(None),
            Some(SecretValue::Bytes(value)) => return Ok(Some(value.clone())),
            Some(SecretValue::File(path)) => path,
        };
        let fail = |error: std::io::Error| SessionError {
            what: format!("read the secret `{id}` from `{}`", path.display()),
            reason: error.to_string(),
        };
        let mut value = Vec::new();
        // One byte more than it may have, so that the step refuses one that grew.
        let file = File::open(path).map_err(fail)?;
        file.take(MAX_SECRET as u64 + 1).read_to_end(&mut value).map_err(fail)?;
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(id: &str, value: SecretValue) -> SecretSource {
        SecretSource { id: id.to_owned(), value }
    }

    #[test]
    fn values_come_from_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "from the file").unwrap();
        let bytes = |text: &str| SecretValue::Bytes(text.as_bytes().to_vec());
        let sources =
            [source("a", bytes("first")), source("a", bytes("second")), source("b", SecretValue::File(file))];
        let secrets = SecretFiles::open(&sources).unwrap();
        assert_eq!(secrets.secret("a").unwrap().unwrap(), b"second");
        assert_eq!(secrets.secret("b").unwrap().unwrap(), b"from the file");
        assert_eq!(secrets.secret("c").unwrap(), None);
        assert!(!format!("{sources:?}").contains("second"));
    }

    #[test]
    fn a_file_that_is_none_is_told_before_the_build() {
        let dir = tempfile::tempdir().unwrap();
        let large = dir.path().join("large");
        std::fs::write(&large, vec![0; MAX_SECRET + 1]).unwrap();
        for (path, why) in
            [(dir.path().join("none"), "cannot read"), (dir.path().into(), "folder"), (large, "larger")]
        {
            let error = SecretFiles::open(&[source("x", SecretValue::File(path))]).map(drop).unwrap_err();
            assert!(error.message.contains(why) && error.message.contains("`x`"), "{}", error.message);
        }
    }
}
