//! What a build has from whoever asked for it and is not on this machine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kiln_builder::{ContextSource, Secrets, SshAgents};

use super::BuildRequest;
use super::reading::BuiltBase;
use crate::{Error, Result};

/// Contexts, secrets and agents of somebody else. Where contexts are, nothing that the request names is looked for on
/// this machine: a name that somebody sends is no path here.
#[derive(Clone, Default)]
pub struct Outside {
    /// The local contexts, by the names that they have there.
    pub contexts: Option<Arc<dyn ContextSource>>,
    /// Which of them has the Dockerfile, where that is not in the build's own context.
    pub dockerfile: Option<String>,
    /// What other builds made, by what named contexts call it after `input:`; nothing is the empty filesystem.
    pub inputs: BTreeMap<String, Option<BuiltBase>>,
    /// The secrets.
    pub secrets: Option<Arc<dyn Secrets>>,
    /// The agents.
    pub ssh: Option<Arc<dyn SshAgents>>,
}

impl Outside {
    /// Refuses a request from elsewhere that would read this machine's files.
    pub(super) fn check(&self, request: &BuildRequest) -> Result<()> {
        let here = matches!(request.context, super::Context::Folder(_))
            || !request.secrets.is_empty()
            || !request.ssh.is_empty();
        match self.contexts.is_some() && here {
            true => Err(Error::invalid("a build from elsewhere cannot use files of this machine")),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").field("dockerfile", &self.dockerfile).finish_non_exhaustive()
    }
}
