//! Images: list, inspect, name, remove, pull, push, save, load, import.

mod import;
mod load;
mod pull;
mod push;
mod read;
mod rebase;
mod remove;
mod save;
mod statements;
mod variants;

use std::collections::BTreeMap;

use kiln_oci::{Descriptor, Digest, History, ImageConfig, Manifest, Platform, Reference};

pub use import::ImportOptions;
pub use pull::{PullWhen, Pulled, Remote};
pub use push::PushedImage;
pub(crate) use read::StoredImage;
pub use rebase::{RebaseRequest, Rebased, RebasedImage};
pub use remove::Removed;
pub use statements::StatementInfo;

use crate::{Engine, Result};

/// One line of a list of images: an image with all its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSummary {
    /// Its id: the digest of its configuration.
    pub id: Digest,
    /// Its names, sorted; none if it is dangling.
    pub names: Vec<Reference>,
    /// The digest of its manifest or index.
    pub digest: Digest,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// Bytes of its layers, unpacked.
    pub size: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it is here for; the other fields tell of this machine's image, else of the first.
    pub platforms: Vec<Platform>,
}

/// An entry of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What the image is for, where the index says it.
    pub platform: Option<Platform>,
    /// What points to its manifest.
    pub descriptor: Descriptor,
    /// Whether it is in the store.
    pub is_here: bool,
}

/// Everything that is known of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageDetails {
    /// What lists show.
    pub summary: ImageSummary,
    /// What its names mean: its manifest, or an index.
    pub root: Descriptor,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its configuration.
    pub config: ImageConfig,
    /// The entries of its index; none where it is an image by itself.
    pub listed: Vec<Listed>,
    /// What is said about it.
    pub statements: Vec<StatementInfo>,
}

/// One entry of an image's history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryLine {
    /// The entry.
    pub entry: History,
    /// The image's id at the newest entry; older ones have none.
    pub id: Option<Digest>,
    /// Bytes of the layer it made; 0 where it made none.
    pub size: u64,
}

/// The images of a state root.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    pub(crate) engine: &'a Engine,
}

impl Images<'_> {
    /// All images, the newest first. One whose manifest is not here is left out.
    pub fn list(&self) -> Result<Vec<ImageSummary>> {
        let store = self.engine.store();
        let mut list = self.all()?.iter().map(|image| image.summary(store)).collect::<Result<Vec<_>>>()?;
        list.sort_by(|a, b| b.created.cmp(&a.created));
        Ok(list)
    }

    /// One image by name, id or the beginning of its id; of an index that of `platform`, else this machine's.
    pub fn inspect(&self, name: &str, platform: Option<&str>) -> Result<ImageDetails> {
        let image = self.find_for(name, platform)?;
        let summary = image.summary(self.engine.store())?;
        let listed = image.listed();
        let statements = self.statements(&image)?;
        let StoredImage { descriptor: root, manifest, config, .. } = image;
        Ok(ImageDetails { summary, root, manifest, config, listed, statements })
    }

    /// How an image was made, the newest entry first; of an index that of `platform`, else this machine's.
    pub fn history(&self, name: &str, platform: Option<&str>) -> Result<Vec<HistoryLine>> {
        let image = self.find_for(name, platform)?;
        let mut sizes = image.layer_sizes(self.engine.store())?.into_iter();
        let mut lines: Vec<HistoryLine> = image
            .config
            .history
            .iter()
            .map(|entry| {
                let size = if entry.empty_layer { 0 } else { sizes.next().unwrap_or(0) };
                HistoryLine { entry: entry.clone(), id: None, size }
            })
            .collect();
        lines.reverse();
        if let Some(newest) = lines.first_mut() {
            newest.id = Some(image.id);
        }
        Ok(lines)
    }

    /// Gives an image a further name, `latest` where it has no tag. What had the name before loses it.
    pub fn tag(&self, source: &str, target: &str) -> Result<Reference> {
        let target: Reference = target.parse()?;
        if target.digest().is_some() {
            return Err(crate::Error::invalid(format!("`{target}`: a name to give has a tag and no digest")));
        }
        let target = target.with_default_tag();
        let image = self.look_up(source)?;
        self.engine.store().images.set(&target.to_string(), &image.descriptor)?;
        Ok(target)
    }
}
