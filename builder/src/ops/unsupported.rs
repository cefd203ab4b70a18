//! Ops that are understood and not executed by this version.

use futures_util::future::BoxFuture;
use kiln_graph::SourceOp;
use kiln_oci::Digest;

use super::{Digests, Op};
use crate::error::Cause;
use crate::flight::Crowd;
use crate::value::Value;

/// An op that fails with its name.
#[derive(Debug)]
pub(crate) struct Unsupported {
    what: String,
    digests: Digests,
}

impl Unsupported {
    pub(crate) fn new(op: &kiln_graph::Op, digests: Digests) -> Self {
        let what = match op {
            kiln_graph::Op::Source(SourceOp::OciLayout { store, .. }) => {
                format!("an OCI layout source (`{store}`)")
            }
            other => format!("`{}`", other.kind()),
        };
        Unsupported { what, digests }
    }
}

impl Op for Unsupported {
    fn definition(&self) -> Digest {
        self.digests.definition.clone()
    }

    fn run<'a>(&'a self, _inputs: Vec<Value>, _crowd: &'a Crowd) -> BoxFuture<'a, Result<Vec<Value>, Cause>> {
        Box::pin(async { Err(Cause::Unsupported(self.what.clone())) })
    }
}
