//! The SSH agents of a build: one that runs already, or keys that kiln signs with itself.

mod agent;
mod key;
mod openssh;
mod wire;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_builder::{SessionError, SocketAgent, SshAgent, SshAgents};

use crate::{Error, Result};
use agent::KeyAgent;
use key::Key;

/// The most bytes of a file with a key.
const MAX_KEY_FILE: u64 = 100 << 10;

/// An agent for RUN steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshSource {
    /// The name by which steps ask for it.
    pub id: String,
    /// The socket of an agent, or files with private keys.
    pub paths: Vec<PathBuf>,
}

/// The agents of one build by their names.
pub(super) struct Agents(BTreeMap<String, Arc<dyn SshAgent>>);

impl Agents {
    /// Of two with one name the later is meant. Keys are read now.
    pub(super) fn open(sources: &[SshSource]) -> Result<Agents> {
        sources.iter().map(|source| Ok((source.id.clone(), open(source)?))).collect::<Result<_>>().map(Agents)
    }
}

impl SshAgents for Agents {
    fn agent(&self, id: &str) -> std::result::Result<Option<Arc<dyn SshAgent>>, SessionError> {
        Ok(self.0.get(id).cloned())
    }
}

fn open(source: &SshSource) -> Result<Arc<dyn SshAgent>> {
    if let [path] = source.paths.as_slice()
        && is_socket(&source.id, path)?
    {
        return Ok(Arc::new(SocketAgent(path.clone())));
    }
    let keys = source.paths.iter().map(|path| key(&source.id, path)).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(KeyAgent(keys)))
}

fn key(id: &str, path: &Path) -> Result<Key> {
    if is_socket(id, path)? {
        return Err(Error::invalid(format!("the SSH agent `{id}` is given a socket and more beside it")));
    }
    let fail = |error: std::io::Error| {
        Error::invalid(format!("cannot read the SSH key `{}`", path.display())).caused_by(error)
    };
    let mut text = Vec::new();
    File::open(path).map_err(fail)?.take(MAX_KEY_FILE).read_to_end(&mut text).map_err(fail)?;
    Key::parse(&text).map_err(|refused| {
        let error = Error::invalid(format!("the SSH key `{}` {}", path.display(), refused.why));
        match refused.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    })
}

fn is_socket(id: &str, path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(meta.file_type().is_socket()),
        Err(error) => {
            Err(Error::not_found(format!("cannot find `{}` for the SSH agent `{id}`", path.display()))
                .caused_by(error))
        }
    }
}
