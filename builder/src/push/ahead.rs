//! A layer is sent while it is packed.

use std::io::{self, Read};
use std::sync::Arc;

use kiln_cache::Growing;
use kiln_oci::{Descriptor, Reference};
use kiln_registry_client::{BlobSource, ErrorKind, Pushed};
use tokio::sync::oneshot;

use super::blob::{Reported, report_end};
use crate::error::Cause;
use crate::progress::Reporter;
use crate::solver::blocking;
use crate::stores::Stores;

/// A blob that is smaller is sent when it is whole: then its digest is known, and it may be there already.
const LEAST: u64 = 1 << 20;

/// Makes a blob by `pack`, which hands it out as it grows where it has to be made, and sends it to `target` meanwhile. How it
/// came there is `None` where that is still to be done.
pub(crate) async fn pack(
    stores: &Stores,
    target: Option<&Reference>,
    item: &str,
    reporter: &Arc<dyn Reporter>,
    pack: impl FnOnce(&mut dyn FnMut(Growing)) -> Result<Descriptor, Cause> + Send + 'static,
) -> Result<(Descriptor, Option<Pushed>), Cause> {
    let (sender, begun) = oneshot::channel();
    let mut packing = Box::pin(blocking(move || {
        let mut sender = Some(sender);
        // The first counts; that nobody wants to see it grow is no failure.
        pack(&mut |growing| drop(sender.take().map(|sender| sender.send(growing))))
    }));
    let begun = async {
        let growing = begun.await.ok().filter(|_| target.is_some())?;
        let seen = growing.clone();
        blocking(move || Ok(seen.reaches(LEAST))).await.ok()?.then_some(growing)
    };
    let (growing, target) = tokio::select! {
        biased;
        packed = &mut packing => return Ok((packed?, None)),
        growing = begun => match (growing, target) {
            (Some(growing), Some(target)) => (growing, target),
            _ => return Ok((packing.await?, None)),
        },
    };
    let (tell, made) = oneshot::channel();
    let source = Arc::new(Source { growing, item: item.to_owned(), reporter: reporter.clone() });
    let sending = stores.client.push_growing_blob(target, source, async { made.await.ok() });
    let packing = async {
        let packed = packing.await;
        if let Ok(packed) = &packed {
            // Who sends it may have failed.
            drop(tell.send(packed.clone()));
        }
        packed
    };
    let (packed, sent) = tokio::join!(packing, sending);
    let packed = packed?;
    let pushed = match sent {
        // Another job gave it up and this one packed it again: what is whole now is sent.
        Err(error) if error.kind == ErrorKind::Local => None,
        sent => sent?.map(|(_, pushed)| pushed),
    };
    if pushed.is_some() {
        report_end(reporter.as_ref(), item, "pushing", packed.size);
    }
    Ok((packed, pushed))
}

/// A blob that grows, as it is read for a registry.
struct Source {
    growing: Growing,
    item: String,
    reporter: Arc<dyn Reporter>,
}

impl BlobSource for Source {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let (item, reporter) = (self.item.clone(), self.reporter.clone());
        Ok(Box::new(Reported::new(self.growing.reader(), item, None, reporter)))
    }
}
