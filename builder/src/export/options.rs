//! What an export of an image may be told, with what holds where nothing is said.

use kiln_oci::compression::Packing;
use kiln_oci::{Compression, Reference};

use super::annotations::Annotations;

/// How the image of an export is made.
///
/// Two exports of one build with equal options but for their names share one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOptions {
    /// The names it goes by; those of the store get the tag `latest` where they have none.
    pub names: Vec<Reference>,
    /// Media types of the OCI rather than those of Docker's schema 2.
    pub oci_media_types: bool,
    /// What layers are packed with. Nothing said is gzip, and in the store alone no packing at all.
    pub packing: Option<Packing>,
    /// Whether layers that came packed otherwise are packed again.
    pub force_packing: bool,
    /// Whether no file of the build's own layers is newer than the epoch.
    pub rewrite_timestamp: bool,
    /// Replaces the times of what is new, in seconds; nothing said is the build's own (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<i64>,
    /// Which layers become one.
    pub squash: Option<Squash>,
    /// Free text for documents and what points to them.
    pub annotations: Annotations,
    /// Whether statements about the image are entries of an index beside it, whatever the build says.
    pub attestations_in_index: bool,
}

/// Which layers become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Squash {
    /// Those that the build made; the base's stay.
    New,
    /// All.
    All,
}

impl Default for ImageOptions {
    fn default() -> Self {
        ImageOptions {
            names: Vec::new(),
            oci_media_types: true,
            packing: None,
            force_packing: false,
            rewrite_timestamp: false,
            epoch: None,
            squash: None,
            annotations: Annotations::default(),
            attestations_in_index: false,
        }
    }
}

impl ImageOptions {
    /// The options of an image with these names and nothing else said.
    pub fn named(names: Vec<Reference>) -> Self {
        ImageOptions { names, ..ImageOptions::default() }
    }

    /// What layers are packed with where they are.
    pub fn packing(&self) -> Packing {
        self.packing.unwrap_or(Packing::of(Compression::Gzip))
    }

    /// Whether something is said that only packed layers can be.
    pub(super) fn wants_packed(&self) -> bool {
        self.packing.is_some() || self.force_packing || self.rewrite_timestamp || self.squash.is_some()
    }
}

/// Where an image goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whether it is kept in the store.
    pub store: bool,
    /// Whether its files are unpacked, so that its first container starts at once.
    pub unpack: bool,
    /// Whether it is sent to the registry of each of its names.
    pub push: bool,
    /// Whether registries get no tag but the digest alone.
    pub by_digest: bool,
    /// Whether registries are believed without a certificate, or spoken to without TLS.
    pub insecure: bool,
    /// A further name is this and the digest.
    pub dangling_prefix: Option<Reference>,
    /// Whether that name is given only where there is no other.
    pub dangling_only: bool,
    /// Whether each name is given once more with the digest.
    pub canonical: bool,
}

impl Default for Place {
    fn default() -> Self {
        Place {
            store: true,
            unpack: false,
            push: false,
            by_digest: false,
            insecure: false,
            dangling_prefix: None,
            dangling_only: false,
            canonical: false,
        }
    }
}

/// What becomes of files that are in a directory already and not in the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LocalMode {
    /// They stay.
    #[default]
    Copy,
    /// They are removed.
    Delete,
}
