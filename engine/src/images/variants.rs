//! The images that one name stands for: its own, or those of its index that are here.

use std::collections::BTreeSet;

use kiln_cache::Store;
use kiln_oci::media_type::Kind;
use kiln_oci::parse::{self, Document, parse_config, parse_manifest};
use kiln_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform};

use super::read::broken;
use crate::{Error, ErrorKind, Result};

/// The operating system of entries that are no images but statements about one.
const NO_OS: &str = "unknown";

/// One image, for one platform.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    /// What it is for: what an index says, else what it says itself.
    pub(crate) platform: Platform,
    /// What points to its manifest.
    pub(crate) descriptor: Descriptor,
    /// Its manifest.
    pub(crate) manifest: Manifest,
    /// Its configuration.
    pub(crate) config: ImageConfig,
}

impl Variant {
    /// Its id: the digest of its configuration.
    pub(crate) fn id(&self) -> &Digest {
        &self.manifest.config.digest
    }
}

/// The images behind a manifest or index.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variants {
    /// Those whose documents are here, in the order of the index. Layers may be at a registry.
    pub(crate) here: Vec<Variant>,
    /// The entries of the index that are not here.
    pub(crate) missing: Vec<Descriptor>,
    /// Every index and manifest that is here.
    pub(crate) documents: BTreeSet<Digest>,
}

impl Variants {
    /// Reads what `root` leads to.
    pub(crate) fn of(store: &Store, root: &Descriptor) -> Result<Variants> {
        let mut variants = Variants::default();
        variants.add(store, root, 0)?;
        Ok(variants)
    }

    /// The image that serves `platform` best; for nobody in particular this machine's, else the first.
    pub(crate) fn choose(&self, platform: Option<&Platform>) -> Option<&Variant> {
        let (wanted, or_first) = match platform {
            Some(platform) => (platform.clone(), None),
            None => (Platform::host(), self.here.first()),
        };
        let best = self.here.iter().filter_map(|one| one.platform.serves(&wanted)).max();
        let chosen =
            best.and_then(|best| self.here.iter().find(|one| one.platform.serves(&wanted) == Some(best)));
        chosen.or(or_first)
    }

    /// Whether the index has an image for `platform` that is not here.
    pub(crate) fn lacks(&self, platform: &Platform) -> bool {
        let serves = |entry: &&Platform| entry.serves(platform).is_some();
        self.missing.iter().filter_map(|entry| entry.platform.as_ref()).any(|entry| serves(&entry))
    }

    fn add(&mut self, store: &Store, entry: &Descriptor, depth: usize) -> Result<()> {
        if depth > parse::MAX_INDEX_DEPTH {
            let message = format!("the index `{}` is nested too deep", entry.digest);
            return Err(Error::new(ErrorKind::Internal, message));
        }
        if self.documents.contains(&entry.digest) {
            return Ok(());
        }
        if store.content.info(&entry.digest)?.is_none() {
            self.missing.push(entry.clone());
            return Ok(());
        }
        let bytes = store.content.read(&entry.digest, parse::MAX_MANIFEST as u64)?;
        let document = parse_manifest(&bytes, Some(entry.media_type.as_str()));
        match document.map_err(|error| broken(&entry.digest, error))? {
            Document::Manifest(manifest) => self.add_image(store, entry, manifest),
            Document::Index(index) => {
                self.documents.insert(entry.digest.clone());
                images_of(&index).try_for_each(|child| self.add(store, child, depth + 1))
            }
        }
    }

    fn add_image(&mut self, store: &Store, entry: &Descriptor, manifest: Manifest) -> Result<()> {
        let config = &manifest.config.digest;
        if store.content.info(config)?.is_none() {
            self.missing.push(entry.clone());
            return Ok(());
        }
        let bytes = store.content.read(config, parse::MAX_CONFIG as u64)?;
        let parsed = parse_config(&bytes).map_err(|error| broken(config, error))?;
        let platform = entry.platform.clone().unwrap_or_else(|| parsed.platform.clone());
        self.documents.insert(entry.digest.clone());
        self.here.push(Variant { platform, descriptor: entry.clone(), manifest, config: parsed });
        Ok(())
    }
}

/// The entries of an index that are images, or indexes of some.
fn images_of(index: &Index) -> impl Iterator<Item = &Descriptor> {
    let is_image = |entry: &&Descriptor| {
        let known = entry.platform.as_ref().is_none_or(|platform| platform.os != NO_OS);
        known && matches!(entry.media_type.kind(), Kind::Manifest | Kind::Index)
    };
    index.manifests.iter().filter(is_image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_cache::StoreOptions;
    use kiln_oci::MediaType;

    struct Shelf {
        _dir: tempfile::TempDir,
        store: Store,
    }

    impl Shelf {
        fn new() -> Shelf {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path(), &StoreOptions::default()).unwrap();
            Shelf { _dir: dir, store }
        }

        fn put(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
            self.store.content.put(media_type, bytes).unwrap()
        }

        fn image(&self, platform: &str) -> Descriptor {
            let platform: Platform = platform.parse().unwrap();
            let config = self.put(MediaType::OCI_CONFIG, &ImageConfig::empty(platform.clone()).to_bytes());
            let manifest = self.put(MediaType::OCI_MANIFEST, &Manifest::new(config, Vec::new()).to_bytes());
            Descriptor { platform: Some(platform), ..manifest }
        }

        fn index(&self, entries: Vec<Descriptor>) -> Descriptor {
            self.put(MediaType::OCI_INDEX, &Index::new(entries).to_bytes())
        }
    }

    fn absent(platform: &str) -> Descriptor {
        let entry = Descriptor::of(MediaType::OCI_MANIFEST, platform.as_bytes());
        Descriptor { platform: Some(platform.parse().unwrap()), ..entry }
    }

    fn chosen(variants: &Variants, platform: Option<&str>) -> Option<String> {
        let platform = platform.map(|text| text.parse().unwrap());
        variants.choose(platform.as_ref()).map(|variant| variant.platform.to_string())
    }

    #[test]
    fn an_index_stands_for_what_of_it_is_here() {
        let shelf = Shelf::new();
        let entries = vec![
            absent("linux/amd64"),
            shelf.image("linux/s390x"),
            shelf.image("linux/arm/v6"),
            absent("unknown/unknown"),
        ];
        let variants = Variants::of(&shelf.store, &shelf.index(entries)).unwrap();
        assert_eq!(variants.here.len(), 2);
        assert_eq!(chosen(&variants, Some("linux/arm/v7")).as_deref(), Some("linux/arm/v6"));
        assert_eq!(chosen(&variants, Some("linux/amd64")), None);
        assert!(chosen(&variants, None).is_some(), "nobody in particular gets what is there");
        let lacks = |text: &str| variants.lacks(&text.parse().unwrap());
        assert!(lacks("linux/amd64") && !lacks("linux/arm64") && !lacks("linux/s390x"));
        assert_eq!(variants.missing.len(), 1, "statements about images are no images");
    }

    #[test]
    fn this_machines_image_is_meant_where_nobody_says() {
        let shelf = Shelf::new();
        let host = Platform::host().to_string();
        let index = shelf.index(vec![shelf.image("linux/s390x"), shelf.image(&host)]);
        assert_eq!(chosen(&Variants::of(&shelf.store, &index).unwrap(), None), Some(host));
    }

    #[test]
    fn nested_indexes_are_followed_so_far() {
        let shelf = Shelf::new();
        let mut root = shelf.index(vec![shelf.image("linux/arm64")]);
        for _ in 1..parse::MAX_INDEX_DEPTH {
            root = shelf.index(vec![root]);
        }
        assert_eq!(Variants::of(&shelf.store, &root).unwrap().here.len(), 1);
        let error = Variants::of(&shelf.store, &shelf.index(vec![root])).unwrap_err();
        assert!(error.message.contains("nested too deep"), "{error}");
    }
}
