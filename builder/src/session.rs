//! What a build needs from whoever asked for it: contexts, secrets and agents.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_oci::Digest;

use crate::materials::Materials;
use crate::ssh::SshAgent;
use crate::value::Layers;

/// Files that a build wants of a local context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The context: `context`, or a named one.
    pub name: String,
    /// Which files are needed, patterns as of [`kiln_graph::SourceOp::Local`]; empty is everything.
    pub include: Vec<String>,
    /// Which files are hidden, lines of an ignore file.
    pub exclude: Vec<String>,
    /// Paths whose symbolic links must come with their targets.
    pub follow: Vec<String>,
    /// What the files are for, where they are not the context itself: a word. Where files travel, those for one purpose
    /// are kept apart from those for another.
    pub purpose: &'static str,
}

/// Where the files of local sources are.
pub trait ContextSource: Send + Sync {
    /// The directory of the context `name` (`context`, or a named context). Its files are read in place while the
    /// build runs; nothing is written there.
    fn directory(&self, name: &str) -> Result<PathBuf, SessionError>;

    /// The same with at least the files that are wanted in it, for a source that has to bring them first. Blocking.
    fn files(&self, wanted: &Wanted) -> Result<PathBuf, SessionError> {
        self.directory(&wanted.name)
    }

    /// The context's filesystem, where it is no directory but was unpacked to layers before the build.
    fn layers(&self, _name: &str) -> Option<Layers> {
        None
    }

    /// The directory of the OCI layout `store`, with at least the image `digest` in it. Blocking.
    fn layout(&self, store: &str, _digest: &Digest) -> Result<PathBuf, SessionError> {
        let what = format!("OCI layout `{store}`");
        Err(SessionError { what, reason: "no such layout was given".to_owned() })
    }
}

/// The values of secrets. They never reach a cache key, a log or a layer.
pub trait Secrets: Send + Sync {
    /// The value, or `None` where there is no such secret.
    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError>;
}

/// SSH agents.
pub trait SshAgents: Send + Sync {
    /// The agent, or `None` where there is no such agent.
    fn agent(&self, id: &str) -> Result<Option<Arc<dyn SshAgent>>, SessionError>;
}

/// Why the other side could not give what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct SessionError {
    /// What was asked for, for example ``local context `docs` ``.
    pub what: String,
    /// Why it could not be had.
    pub reason: String,
}

/// Everything that whoever asked for a build offers it.
#[derive(Clone)]
pub struct Session {
    /// The contexts.
    pub contexts: Arc<dyn ContextSource>,
    /// The secrets.
    pub secrets: Arc<dyn Secrets>,
    /// The agents.
    pub ssh: Arc<dyn SshAgents>,
    /// What programs that fetch find in their environment: `PATH` and how to reach the world.
    pub environment: Arc<BTreeMap<String, String>>,
    /// Where sources note what they turned out to be.
    pub materials: Arc<Materials>,
}

impl Session {
    /// A session with contexts and nothing else.
    pub fn of_contexts(contexts: Arc<dyn ContextSource>) -> Self {
        Session {
            contexts,
            secrets: Arc::new(Nothing),
            ssh: Arc::new(Nothing),
            environment: Arc::default(),
            materials: Arc::default(),
        }
    }

    /// A session that offers nothing.
    pub fn empty() -> Self {
        Session::of_contexts(Arc::new(Nothing))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

/// Contexts by name, as directories of this machine.
impl ContextSource for BTreeMap<String, PathBuf> {
    fn directory(&self, name: &str) -> Result<PathBuf, SessionError> {
        self.get(name).cloned().ok_or_else(|| no_context(name))
    }
}

fn no_context(name: &str) -> SessionError {
    SessionError { what: format!("local context `{name}`"), reason: "no such context was given".to_owned() }
}

/// Offers nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl ContextSource for Nothing {
    fn directory(&self, name: &str) -> Result<PathBuf, SessionError> {
        Err(no_context(name))
    }
}

impl Secrets for Nothing {
    fn secret(&self, _id: &str) -> Result<Option<Vec<u8>>, SessionError> {
        Ok(None)
    }
}

impl SshAgents for Nothing {
    fn agent(&self, _id: &str) -> Result<Option<Arc<dyn SshAgent>>, SessionError> {
        Ok(None)
    }
}
