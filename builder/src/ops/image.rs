//! The source that is an image: its layers are known from its manifest and are fetched when somebody reads them.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use kiln_oci::{Digest, Platform, Reference};
use tokio::sync::OnceCell;

use super::{Op, Pin};
use crate::error::Cause;
use crate::flight::Crowd;
use crate::progress::{Reporter, Silent};
use crate::pull::{self, Image};
use crate::session::Session;
use crate::stores::Stores;
use crate::value::Value;

/// An image's filesystem.
#[derive(Debug)]
pub struct ImageOp {
    stores: Arc<Stores>,
    reference: Reference,
    platform: Platform,
    resolved: OnceCell<Image>,
}

impl ImageOp {
    /// The filesystem of what `reference` names for `platform`.
    pub fn new(stores: Arc<Stores>, reference: Reference, platform: Platform) -> Self {
        ImageOp { stores, reference, platform, resolved: OnceCell::new() }
    }

    async fn image(&self, reporter: &dyn Reporter) -> Result<&Image, Cause> {
        let resolve = || pull::resolve(&self.stores, &self.reference, &self.platform, reporter);
        self.resolved.get_or_try_init(resolve).await
    }
}

impl Op for ImageOp {
    fn definition(&self) -> Digest {
        Digest::of(format!("image {} {}", self.reference, self.platform).as_bytes())
    }

    /// A manifest is what it is under whatever name, so two names for one base share what is built on it.
    fn pin<'a>(
        &'a self,
        _session: &'a Session,
        _reporter: &'a dyn Reporter,
    ) -> BoxFuture<'a, Result<Option<Pin>, Cause>> {
        Box::pin(async {
            let digest = match self.reference.digest() {
                Some(digest) => digest,
                None => &self.image(&Silent).await?.root.digest,
            };
            let identity = Digest::of(format!("image {digest} {}", self.platform).as_bytes());
            Ok(Some(Pin { identity, value: None }))
        })
    }

    fn run<'a>(&'a self, _inputs: Vec<Value>, crowd: &'a Crowd) -> BoxFuture<'a, Result<Vec<Value>, Cause>> {
        Box::pin(async { Ok(vec![Value::Layers(self.image(crowd).await?.layers())]) })
    }

    fn remembered(&self) -> bool {
        false
    }
}
