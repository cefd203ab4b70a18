//! What a build has from whoever asked for it and is not on this machine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kiln_builder::{ContextSource, Secrets, SshAgents};
use kiln_graph::{Definition, Op, SourceOp, Vertex, VertexId};
use kiln_oci::{Platform, Reference};

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
    /// Who decides about sources before anything is looked for there.
    pub policy: Option<Arc<dyn SourcePolicy>>,
    /// The secrets.
    pub secrets: Option<Arc<dyn Secrets>>,
    /// The agents.
    pub ssh: Option<Arc<dyn SshAgents>>,
}

/// Decides about sources.
pub trait SourcePolicy: Send + Sync {
    /// What is taken instead of `source`; `None` where it stays. An error refuses it.
    fn decide(&self, source: &SourceOp) -> Result<Option<SourceOp>>;
}

impl Outside {
    /// What is taken instead of `source`, or itself.
    pub(super) fn decide(&self, source: SourceOp) -> Result<SourceOp> {
        let Some(policy) = &self.policy else { return Ok(source) };
        Ok(policy.decide(&source)?.unwrap_or(source))
    }

    /// The same of an image that is looked up before there is a graph.
    pub(super) fn decide_image(&self, reference: &Reference, platform: &Platform) -> Result<Reference> {
        let (reference, platform) = (reference.clone(), platform.clone());
        match self.decide(SourceOp::Image { reference, platform })? {
            SourceOp::Image { reference, .. } => Ok(reference.with_default_tag()),
            _ => Err(Error::not_implemented("something else than an image instead of an image")),
        }
    }

    /// The same of all sources of a graph.
    pub(super) fn decide_all(&self, definition: &mut Definition) -> Result<()> {
        if self.policy.is_none() {
            return Ok(());
        }
        let source = |(id, vertex): (VertexId, &Vertex)| match &vertex.op {
            Op::Source(source) => Some((id, source.clone())),
            _ => None,
        };
        let sources: Vec<(VertexId, SourceOp)> = definition.vertices().filter_map(source).collect();
        for (id, source) in sources {
            definition.set_source(id, self.decide(source)?);
        }
        Ok(())
    }

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
