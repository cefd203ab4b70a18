//! The source that is a directory of whoever asked for the build.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use kiln_oci::Digest;

use super::{Op, Pin};
use crate::context::LocalFiles;
use crate::error::Cause;
use crate::flight::Crowd;
use crate::index::Index;
use crate::progress::{EventKind, Reporter};
use crate::session::{Session, Wanted};
use crate::solver::blocking;
use crate::stores::Stores;
use crate::value::Value;

/// Reads a local context in place. Nothing is read before an op asks for files.
#[derive(Debug)]
pub struct LocalOp {
    stores: Arc<Stores>,
    wanted: Wanted,
}

impl LocalOp {
    /// What is `wanted` of a context.
    pub fn new(stores: Arc<Stores>, wanted: Wanted) -> Self {
        LocalOp { stores, wanted }
    }
}

impl Op for LocalOp {
    fn definition(&self) -> Digest {
        Digest::of(format!("local {}", self.wanted.name).as_bytes())
    }

    fn pin<'a>(
        &'a self,
        session: &'a Session,
        reporter: &'a dyn Reporter,
    ) -> BoxFuture<'a, Result<Option<Pin>, Cause>> {
        Box::pin(async {
            reporter.report(EventKind::Started);
            if let Some(layers) = session.contexts.layers(&self.wanted.name) {
                let (identity, value) = (layers.digest(), Some(Value::Layers(layers)));
                return Ok(Some(Pin { identity, value }));
            }
            let (stores, wanted, session) = (self.stores.clone(), self.wanted.clone(), session.clone());
            let files = blocking(move || {
                let path = session.contexts.files(&wanted)?;
                let index = Index::load(&stores.store, &path);
                LocalFiles::open(&wanted.name, &path, &wanted.exclude, Some(Arc::new(index)))
            });
            let files = Arc::new(files.await?);
            Ok(Some(Pin { identity: self.definition(), value: Some(Value::Files(files)) }))
        })
    }

    fn run<'a>(&'a self, _inputs: Vec<Value>, _crowd: &'a Crowd) -> BoxFuture<'a, Result<Vec<Value>, Cause>> {
        Box::pin(async {
            Err(Cause::Invalid(format!("local context `{}` was not pinned", self.wanted.name)))
        })
    }

    fn remembered(&self) -> bool {
        false
    }
}
