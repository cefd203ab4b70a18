//! Images to registries: what is there is not sent, what can be mounted is not sent, the manifest goes last, and an index
//! after the manifests that it lists.

pub(crate) mod ahead;
mod attest;
mod blob;
mod image;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use kiln_cache::{Lease, Resource};
use kiln_oci::parse::{Document, MAX_INDEX_DEPTH};
use kiln_oci::{Descriptor, Digest, Index, MediaType, Platform, Reference};
use kiln_registry_client::Pushed;

use crate::attest::manifest::attested;
use crate::error::Cause;
use crate::progress::Reporter;
use crate::pull;
use crate::stores::Stores;

/// The operating system of index entries that are no images but statements about one.
const NO_OS: &str = "unknown";

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushResult {
    /// What the reference names at the registry now.
    pub descriptor: Descriptor,
    /// How many blobs were there, were mounted, were sent.
    pub counts: Counts,
    /// The platforms of the index whose images are not here and were left out of what the registry has now.
    pub left_out: Vec<Platform>,
}

/// How the blobs came to be at the registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Were there.
    pub existed: usize,
    /// Were taken from another repository.
    pub mounted: usize,
    /// Were sent.
    pub uploaded: usize,
}

/// Pushes the image that the store knows as `root` to `target`. Of an index that is the image for `platform`, or all that are
/// here: the index itself where none is missing, one of the others where some are, the image alone where only one is here.
pub async fn push(
    stores: &Arc<Stores>,
    root: &Descriptor,
    target: &Reference,
    platform: Option<&Platform>,
    reporter: &Arc<dyn Reporter>,
) -> Result<PushResult, Cause> {
    let root = match platform {
        Some(platform) => pull::local(stores, target, root, platform)?.descriptor,
        None => root.clone(),
    };
    send(stores, &root, target, reporter, Plain::Packed, HashMap::new()).await
}

/// Pushes the image or index `root` with the very documents that the store has, whatever its layers are packed with. The
/// layers `sent` are at the registry already.
pub(crate) async fn push_exactly(
    stores: &Arc<Stores>,
    root: &Descriptor,
    target: &Reference,
    reporter: &Arc<dyn Reporter>,
    sent: HashMap<Digest, Pushed>,
) -> Result<PushResult, Cause> {
    send(stores, root, target, reporter, Plain::AsItIs, sent).await
}

async fn send(
    stores: &Arc<Stores>,
    root: &Descriptor,
    target: &Reference,
    reporter: &Arc<dyn Reporter>,
    plain: Plain,
    sent: HashMap<Digest, Pushed>,
) -> Result<PushResult, Cause> {
    let lease = Arc::new(stores.store.leases.create()?);
    let (counts, left_out) = (Counts::default(), Vec::new());
    let mut push = Push { stores, target, reporter, lease, plain, sent, counts, left_out };
    let descriptor = push.root(root).await?;
    Ok(PushResult { descriptor, counts: push.counts, left_out: push.left_out })
}

/// What becomes of a layer that the manifest names as a plain tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    /// It is packed: that is how the store names layers that nobody packed.
    Packed,
    /// It is sent so.
    AsItIs,
}

impl Counts {
    fn add(&mut self, pushed: Pushed) {
        match pushed {
            Pushed::Existed => self.existed += 1,
            Pushed::Mounted => self.mounted += 1,
            Pushed::Uploaded => self.uploaded += 1,
        }
    }
}

/// A push under way.
struct Push<'a> {
    stores: &'a Arc<Stores>,
    target: &'a Reference,
    reporter: &'a Arc<dyn Reporter>,
    lease: Arc<Lease>,
    plain: Plain,
    sent: HashMap<Digest, Pushed>,
    counts: Counts,
    left_out: Vec<Platform>,
}

impl Push<'_> {
    async fn root(&mut self, root: &Descriptor) -> Result<Descriptor, Cause> {
        let target = self.target.clone();
        let index = match pull::document_of(self.stores, &target, root)? {
            Document::Manifest(_) => return self.image(root, &target).await,
            Document::Index(index) => index,
        };
        let images = || index.manifests.iter().filter(|entry| attested(entry).is_none());
        let here: Vec<&Descriptor> = images().filter(|entry| self.has(entry)).collect();
        match here[..] {
            [] => Err(Cause::Image {
                reference: target.familiar(),
                reason: "no image of its index is here".to_owned(),
                hint: Some("`kiln pull` fetches one".to_owned()),
            }),
            [only] if images().count() > 1 => {
                let only = only.clone();
                self.leave_out(&index);
                self.image(&only, &target).await
            }
            _ => self.index(root, index, target, 1).await,
        }
    }

    /// Pushes those images of an index that are here, and then an index of them.
    fn index<'s>(
        &'s mut self,
        descriptor: &'s Descriptor,
        index: Index,
        target: Reference,
        depth: usize,
    ) -> BoxFuture<'s, Result<Descriptor, Cause>> {
        Box::pin(async move {
            if depth > MAX_INDEX_DEPTH {
                return Err(Cause::Invalid(format!("the index `{}` is nested too deep", descriptor.digest)));
            }
            let mut manifests = Vec::with_capacity(index.manifests.len());
            let mut known: HashMap<Digest, Descriptor> = HashMap::new();
            for entry in index.manifests.iter().filter(|entry| attested(entry).is_none()) {
                if !self.has(entry) {
                    continue;
                }
                let place = target.without_tag();
                let pushed = match pull::document_of(self.stores, &target, entry)? {
                    Document::Manifest(_) => self.image(entry, &place).await?,
                    Document::Index(inner) => self.index(entry, inner, place, depth + 1).await?,
                };
                let Descriptor { media_type, digest, size, .. } = pushed.clone();
                known.insert(entry.digest.clone(), pushed);
                manifests.push(Descriptor { media_type, digest, size, ..entry.clone() });
            }
            for entry in &index.manifests {
                if let Some(image) = attested(entry).and_then(|image| known.get(&image)) {
                    manifests.extend(self.entry(entry, image).await?);
                }
            }
            self.leave_out(&index);
            let pushed =
                self.put_index(descriptor, Index { manifests, ..index.clone() }, &index, &target).await?;
            self.referrers(&descriptor.digest, &pushed).await?;
            Ok(pushed)
        })
    }

    /// Puts an index: with the very bytes of the store where it is the same.
    async fn put_index(
        &self,
        descriptor: &Descriptor,
        index: Index,
        stored: &Index,
        target: &Reference,
    ) -> Result<Descriptor, Cause> {
        let content = &self.stores.store.content;
        let bytes = match index == *stored {
            true => content.read(&descriptor.digest, descriptor.size)?,
            false => index.to_bytes(),
        };
        let media_type = index.media_type.unwrap_or_else(|| MediaType::new(MediaType::OCI_INDEX));
        self.lease.hold(&Resource::Blob(descriptor.digest.clone()))?;
        Ok(self.stores.client.push_manifest(target, &media_type, bytes.into()).await?)
    }

    /// Whether the image, or index, of an entry is here.
    fn has(&self, entry: &Descriptor) -> bool {
        pull::has_image(self.stores, self.target, entry)
    }

    async fn image(&mut self, manifest: &Descriptor, target: &Reference) -> Result<Descriptor, Cause> {
        // A manifest is for whatever platform it is for.
        let image = pull::local(self.stores, self.target, manifest, &Platform::host())?;
        let (stores, lease, reporter) = (self.stores, &self.lease, self.reporter);
        let sending = image::Sending { stores, lease, plain: self.plain, sent: &self.sent, reporter };
        let pushed = sending.push(&image, target).await?;
        pushed.blobs.into_iter().for_each(|pushed| self.counts.add(pushed));
        self.referrers(&image.descriptor.digest, &pushed.descriptor).await?;
        Ok(pushed.descriptor)
    }

    fn leave_out(&mut self, index: &Index) {
        let missing = index.manifests.iter().filter(|entry| !self.has(entry));
        let platforms = missing.filter_map(|entry| entry.platform.clone());
        let platforms: Vec<Platform> = platforms.filter(|platform| platform.os != NO_OS).collect();
        self.left_out.extend(platforms);
    }
}
