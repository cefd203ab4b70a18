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
            kiln_graph::Op::Source(SourceOp::Git { remote, .. }) => {
                format!("a git source (`{}`)", redact(remote))
            }
            kiln_graph::Op::Source(SourceOp::Http { url, .. }) => format!("a download (`{}`)", redact(url)),
            kiln_graph::Op::Source(SourceOp::OciLayout { store, .. }) => {
                format!("an OCI layout source (`{store}`)")
            }
            kiln_graph::Op::Merge(_) => "a merge of filesystems".to_owned(),
            kiln_graph::Op::Diff(_) => "a difference of filesystems".to_owned(),
            other => format!("`{}`", other.kind()),
        };
        Unsupported { what, digests }
    }
}

/// A URL without user name, password and query.
fn redact(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}/{path}")
        }
        None => url.rsplit('@').next().unwrap_or_default().to_owned(),
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

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn secrets_of_urls_are_not_shown() {
        assert_eq!(redact("https://u:p@h/r.git?token=x#main"), "https://h/r.git");
        assert_eq!(redact("git@h:r.git"), "h:r.git");
    }
}
