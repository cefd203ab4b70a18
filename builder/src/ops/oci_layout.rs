//! The source that is an image in an OCI layout folder of whoever asked for the build.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use kiln_oci::{Digest, Platform};
use kiln_sys::fs::Root;

use super::{Op, Pin};
use crate::error::Cause;
use crate::flight::Crowd;
use crate::progress::Reporter;
use crate::session::Session;
use crate::solver::blocking;
use crate::stores::Stores;
use crate::value::Value;
use crate::{layout, pull};

/// An image's filesystem.
#[derive(Debug)]
pub struct OciLayoutOp {
    stores: Arc<Stores>,
    store: String,
    digest: Digest,
    platform: Platform,
}

impl OciLayoutOp {
    /// The filesystem of the image `digest` for `platform` in the layout that the session calls `store`.
    pub fn new(stores: Arc<Stores>, store: String, digest: Digest, platform: Platform) -> Self {
        OciLayoutOp { stores, store, digest, platform }
    }

    /// The same as of an image from a registry: where it comes from does not change it.
    fn identity(&self) -> Digest {
        Digest::of(format!("image {} {}", self.digest, self.platform).as_bytes())
    }
}

impl Op for OciLayoutOp {
    fn definition(&self) -> Digest {
        self.identity()
    }

    fn pin<'a>(
        &'a self,
        _session: &'a Session,
        _reporter: &'a dyn Reporter,
    ) -> BoxFuture<'a, Result<Option<Pin>, Cause>> {
        Box::pin(async { Ok(Some(Pin { identity: self.identity(), value: None })) })
    }

    fn run<'a>(&'a self, _inputs: Vec<Value>, crowd: &'a Crowd) -> BoxFuture<'a, Result<Vec<Value>, Cause>> {
        Box::pin(async {
            let session = crowd.session().unwrap_or_else(Session::empty);
            let (stores, store, digest) = (self.stores.clone(), self.store.clone(), self.digest.clone());
            let taken = blocking(move || {
                let root = Root::open(&session.contexts.layout(&store, &digest)?)?;
                let lease = stores.store.leases.create()?;
                layout::take(&stores.store, &root, &digest, &lease)?;
                Ok(lease)
            });
            let lease = taken.await?;
            let reference = layout::reference(&self.store, &self.digest);
            let reference =
                reference.ok_or_else(|| Cause::Invalid(format!("`{}` is no image", self.digest)))?;
            let image = pull::resolve(&self.stores, &reference, &self.platform, crowd).await?;
            let layers = image.layers();
            // Now, while the blobs are held: a registry of that name does not exist.
            pull::unpack(&self.stores, &layers, crowd).await?;
            drop(lease);
            Ok(vec![Value::Layers(layers)])
        })
    }

    fn remembered(&self) -> bool {
        false
    }
}
