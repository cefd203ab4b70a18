//! Putting an image on another base: no build, and no layer is fetched for it.

use std::sync::Arc;

use kiln_builder::Stores;
use kiln_builder::pull::{self, Image as Found};
use kiln_cache::{Lease, Resource};
use kiln_oci::compression::Packing;
use kiln_oci::media_type::Kind;
use kiln_oci::parse::{Document, MAX_MANIFEST, parse_manifest};
use kiln_oci::rebase::{BASE_DIGEST, BASE_NAME, Inherited, inherited, rebase};
use kiln_oci::{
    Compression, Descriptor, Digest, Image, ImageConfig, Index, Manifest, MediaType, Platform, Reference,
};

use super::Images;
use super::read::full_name;
use super::variants::Variants;
use crate::build::failure;
use crate::progress::Reporter;
use crate::{Error, ErrorKind, Result};

/// The base that has nothing.
const SCRATCH: &str = "scratch";

/// What is put on which base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebaseRequest {
    /// The image: a name, here or at its registry, or an id.
    pub image: String,
    /// The base that it was built on; `None` is what its annotations say.
    pub old_base: Option<String>,
    /// The base that it is to be on; `None` is the base's name in its annotations.
    pub new_base: Option<String>,
    /// Names for the result; without any the image's own name moves to it.
    pub names: Vec<Reference>,
    /// Only the image for this platform, of several.
    pub platform: Option<String>,
    /// Ask the registry for the new base, even if one of that name is here.
    pub pull: bool,
}

/// What a rebase came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebased {
    /// The id of the result: the digest of its configuration, of an index its own.
    pub id: Digest,
    /// The names it got.
    pub names: Vec<Reference>,
    /// Each image of it.
    pub images: Vec<RebasedImage>,
}

/// One image that was put on another base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebasedImage {
    /// What it is for.
    pub platform: Platform,
    /// The new base with its digest; nothing for the empty one.
    pub base: Option<Reference>,
    /// How many layers went away with the old base.
    pub removed: usize,
    /// How many layers the new base has.
    pub added: usize,
    /// How many layers are the image's own.
    pub own: usize,
    /// Whether the image was on that base already.
    pub unchanged: bool,
    /// What the image keeps of the old base's configuration though the new base has it otherwise.
    pub inherited: Vec<Inherited>,
}

/// The image that is to be put on another base.
struct Original {
    /// The name by which it was found, if it was one.
    name: Option<Reference>,
    /// What that means.
    root: Descriptor,
    images: Vec<Found>,
}

/// The bases of one image.
struct Bases {
    old: Image,
    new: Image,
    /// What the new base is called; nothing for the empty one.
    name: Option<Reference>,
}

/// One image of the result, stored.
struct Stored {
    descriptor: Descriptor,
    manifest: Manifest,
    told: RebasedImage,
}

impl Images<'_> {
    /// Puts an image on another base. Its layers must begin with those of the old one. Only manifests and configurations
    /// are asked for: layers that are at registries stay there.
    pub async fn rebase(&self, request: &RebaseRequest, reporter: &dyn Reporter) -> Result<Rebased> {
        let stores = self.engine.stores();
        let original = self.original(request, reporter).await?;
        let lease = Arc::new(stores.store.leases.create()?);
        let mut stored = Vec::with_capacity(original.images.len());
        for image in &original.images {
            let bases = self.bases(request, image, reporter).await?;
            let (stores, lease, image) = (stores.clone(), lease.clone(), image.clone());
            let name = request.image.clone();
            let one = tokio::task::spawn_blocking(move || put_on(&stores, &lease, &name, &image, &bases));
            stored.push(one.await.map_err(|error| Error::internal("rebase the image", error))??);
        }
        let root = match original.is_index() && request.platform.is_none() {
            true => self.put_index(&original.root, &stored, &lease)?,
            false => stored[0].descriptor.clone(),
        };
        let names = match request.names.is_empty() {
            // A digest goes on meaning what it meant.
            true => original.name.into_iter().filter(|name| name.digest().is_none()).collect(),
            false => request.names.clone(),
        };
        kiln_builder::export::image::store_image(&stores.store, &root, &names)
            .map_err(|cause| failure::of_cause(&cause))?;
        self.engine.sync_later()?;
        let id = match root.digest == stored[0].descriptor.digest {
            true => stored[0].manifest.config.digest.clone(),
            false => root.digest,
        };
        Ok(Rebased { id, names, images: stored.into_iter().map(|one| one.told).collect() })
    }

    /// The image with those of its index that are here, or all of them where it is at a registry only.
    async fn original(&self, request: &RebaseRequest, reporter: &dyn Reporter) -> Result<Original> {
        let stores = &self.engine.stores();
        let platform: Option<Platform> = request.platform.as_deref().map(str::parse).transpose()?;
        let text = &request.image;
        let (root, name, is_here) = match self.look_up(text) {
            Ok(image) => {
                let typed = full_name(text);
                let name = image.names.iter().find(|name| Some(*name) == typed.as_ref());
                (image.descriptor, name.map(|name| name.parse()).transpose()?, true)
            }
            Err(error) if error.kind == ErrorKind::NotFound && is_name(text) => {
                let reference = text.parse::<Reference>()?.with_default_tag();
                let wanted = platform.clone().unwrap_or_else(Platform::host);
                let found = pull::resolve(stores, &reference, &wanted, reporter).await;
                (found.map_err(|cause| cannot("find", &reference, &cause))?.root, Some(reference), false)
            }
            Err(error) => return Err(error),
        };
        let reference = name.clone().map_or_else(|| text.parse(), Ok)?;
        let variants = Variants::of(stores.store.as_ref(), &root)?;
        let mut wanted: Vec<Platform> = variants.here.iter().map(|one| one.platform.clone()).collect();
        if !is_here {
            wanted.extend(variants.missing.iter().filter_map(|entry| entry.platform.clone()));
        }
        if let Some(platform) = &platform {
            let best = wanted.iter().filter_map(|one| one.serves(platform)).max();
            wanted.retain(|one| best.is_some() && one.serves(platform) == best);
            wanted.truncate(1);
        }
        let mut images = Vec::with_capacity(wanted.len());
        for platform in &wanted {
            let pinned = reference.with_digest(root.digest.clone());
            let found = match is_here {
                true => pull::local(stores, &reference, &root, platform),
                false => pull::resolve(stores, &pinned, platform, reporter).await,
            };
            images.push(found.map_err(|cause| cannot("read", &reference, &cause))?);
        }
        match (images.is_empty(), platform) {
            (true, Some(platform)) => {
                Err(Error::not_found(format!("the image `{text}` is not here for `{platform}`")))
            }
            (true, None) => Err(Error::not_found(format!("no manifest of the image `{text}` is here"))),
            _ => Ok(Original { name, root, images }),
        }
    }

    /// The old base and the new one, for the platform of `image`.
    async fn bases(&self, request: &RebaseRequest, image: &Found, reporter: &dyn Reporter) -> Result<Bases> {
        let annotation = |key: &str| image.manifest.annotations.get(key).filter(|text| !text.is_empty());
        let new_text = request.new_base.as_ref().or_else(|| annotation(BASE_NAME));
        let new_text = new_text.ok_or_else(|| unknown("new", BASE_NAME))?;
        let old_text = match (&request.old_base, annotation(BASE_DIGEST)) {
            (Some(text), _) => text.clone(),
            (None, Some(digest)) => {
                let repository = annotation(BASE_NAME).unwrap_or(new_text);
                format!("{}@{digest}", repository.parse::<Reference>()?.name())
            }
            (None, None) => return Err(unknown("old", BASE_DIGEST)),
        };
        let platform = &image.config.platform;
        let old = self.base(&old_text, platform, false, reporter).await?;
        let new = self.base(new_text, platform, request.pull, reporter).await?;
        let name = new.as_ref().map(|found| found.reference.clone());
        let value = |found: Option<Found>| found.map_or_else(|| nothing(platform), as_value);
        Ok(Bases { old: value(old), new: value(new), name })
    }

    /// A base for a platform: as it is here, else as its registry has it. `None` is the empty one.
    async fn base(
        &self,
        text: &str,
        platform: &Platform,
        ask: bool,
        reporter: &dyn Reporter,
    ) -> Result<Option<Found>> {
        if text == SCRATCH {
            return Ok(None);
        }
        let stores = &self.engine.stores();
        let reference = text.parse::<Reference>()?.with_default_tag();
        if !(ask && is_name(text))
            && let Ok(here) = self.look_up(text)
            && let Ok(found) = pull::local(stores, &reference, &here.descriptor, platform)
            && found.config.platform.serves(platform).is_some()
        {
            return Ok(Some(found));
        }
        let found = pull::resolve(stores, &reference, platform, reporter).await;
        found.map(Some).map_err(|cause| cannot("get the base", &reference, &cause))
    }

    /// Stores the index of what was made: that of the original with other manifests. Statements about the old ones are left out.
    fn put_index(&self, old: &Descriptor, images: &[Stored], lease: &Lease) -> Result<Descriptor> {
        let content = &self.engine.store().content;
        let bytes = content.read(&old.digest, MAX_MANIFEST as u64)?;
        let annotations = match parse_manifest(&bytes, Some(old.media_type.as_str())) {
            Ok(Document::Index(index)) => index.annotations,
            _ => Default::default(),
        };
        let entry =
            |one: &Stored| Descriptor { platform: Some(one.told.platform.clone()), ..one.descriptor.clone() };
        let index = Index { annotations, ..Index::new(images.iter().map(entry).collect()) }.to_bytes();
        lease.hold(&Resource::Blob(Digest::of(&index)))?;
        Ok(content.put(MediaType::OCI_INDEX, &index)?)
    }
}

impl Original {
    fn is_index(&self) -> bool {
        matches!(self.root.media_type.kind(), Kind::Index)
    }
}

/// Makes one image on its new base and stores its documents. Its own layers are packed where they are there only as part of
/// a snapshot on the old base. Blocking.
fn put_on(stores: &Stores, lease: &Lease, name: &str, image: &Found, bases: &Bases) -> Result<Stored> {
    let value = as_value(image.clone());
    let below = bases.old.diff_ids().len();
    let mut next = rebase(&value, &bases.old, &bases.new).map_err(|error| {
        Error::invalid(format!("`{name}` was not built on that base: {error}"))
            .with_hint("`--old-base` is the very image that its FROM meant, for example by its digest")
    })?;
    let added = bases.new.diff_ids().len();
    for (at, layer) in next.manifest.layers.iter_mut().enumerate().skip(added) {
        *layer = own_layer(stores, lease, image, at - added + below)?;
    }
    let annotations = &mut next.manifest.annotations;
    annotations.remove(BASE_NAME);
    annotations.remove(BASE_DIGEST);
    if let Some(base) = &bases.name {
        annotations.insert(BASE_NAME.to_owned(), base.without_digest().to_string());
        annotations.extend(base.digest().map(|digest| (BASE_DIGEST.to_owned(), digest.to_string())));
    }
    let (config, manifest) = (next.config.to_bytes(), next.manifest.to_bytes());
    for bytes in [&config, &manifest] {
        lease.hold(&Resource::Blob(Digest::of(bytes)))?;
    }
    let content = &stores.store.content;
    content.put(MediaType::OCI_CONFIG, &config)?;
    let descriptor = content.put(MediaType::OCI_MANIFEST, &manifest)?;
    let told = RebasedImage {
        platform: next.config.platform.clone(),
        base: bases.name.clone(),
        removed: below,
        added,
        own: value.diff_ids().len() - below,
        unchanged: value.diff_ids() == next.diff_ids(),
        inherited: inherited(&value.config, &bases.old.config, &bases.new.config),
    };
    Ok(Stored { descriptor, manifest: next.manifest, told })
}

/// A layer of the image in a form that does not need what is beneath it.
fn own_layer(stores: &Stores, lease: &Lease, image: &Found, index: usize) -> Result<Descriptor> {
    let (store, layer) = (&stores.store, &image.manifest.layers[index]);
    let is_packed = layer.media_type.kind() != Kind::Layer(Compression::Uncompressed);
    let stands = is_packed
        || store.content.info(&layer.digest)?.is_some()
        || !store.sources.of(&layer.digest)?.is_empty();
    if stands {
        return Ok(layer.clone());
    }
    let packing = Packing::of(Compression::Gzip);
    let packed = store.layers.blob_of(lease, &image.config.rootfs.diff_ids, index, packing)?;
    Ok(Descriptor::new(MediaType::layer(Compression::Gzip), packed.digest, packed.size))
}

/// The image without layers.
fn nothing(platform: &Platform) -> Image {
    let config = ImageConfig::empty(platform.clone());
    let descriptor = Descriptor::of(MediaType::OCI_CONFIG, &config.to_bytes());
    Image { manifest: Manifest::new(descriptor, Vec::new()), config }
}

fn as_value(found: Found) -> Image {
    Image { manifest: found.manifest, config: found.config }
}

/// Whether a text can name an image of a registry, and is not an id.
fn is_name(text: &str) -> bool {
    text.parse::<Reference>().is_ok() && !text.starts_with("sha256:")
}

fn unknown(which: &str, annotation: &str) -> Error {
    Error::invalid(format!("the {which} base is not known: the image has no annotation `{annotation}`"))
        .with_hint(format!("`--{which}-base` says it"))
}

fn cannot(what: &str, reference: &Reference, cause: &kiln_builder::Cause) -> Error {
    let mut error = failure::of_cause(cause);
    error.message = format!("cannot {what} `{}`: {}", reference.familiar(), error.message);
    error
}
