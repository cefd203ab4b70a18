//! Media types of manifests and layers, in their OCI and Docker spellings.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a layer's bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// A plain tar.
    Uncompressed,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// A media type, kept as it was written so that a document's bytes never change.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(String);

/// What a media type stands for, whoever's spelling it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One image for one platform.
    Manifest,
    /// A list of manifests.
    Index,
    /// An image configuration.
    Config,
    /// A filesystem layer.
    Layer(Compression),
    /// Something else.
    Other,
}

impl MediaType {
    /// `application/vnd.oci.image.manifest.v1+json`
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// `application/vnd.oci.image.index.v1+json`
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// `application/vnd.oci.image.config.v1+json`
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// `application/vnd.oci.image.layer.v1.tar`
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// `application/vnd.oci.image.layer.v1.tar+gzip`
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// `application/vnd.oci.image.layer.v1.tar+zstd`
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker's image manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's uncompressed layer.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker's gzip layer.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker's zstd layer.
    pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

    /// A media type from its text.
    pub fn new(text: impl Into<String>) -> Self {
        MediaType(text.into())
    }

    /// The OCI media type of a layer compressed so.
    pub fn layer(compression: Compression) -> Self {
        MediaType::new(match compression {
            Compression::Uncompressed => Self::OCI_LAYER,
            Compression::Gzip => Self::OCI_LAYER_GZIP,
            Compression::Zstd => Self::OCI_LAYER_ZSTD,
        })
    }

    /// Docker's media type of a layer compressed so; that of zstd is no part of schema 2, but known to its readers.
    pub fn docker_layer(compression: Compression) -> Self {
        MediaType::new(match compression {
            Compression::Uncompressed => Self::DOCKER_LAYER,
            Compression::Gzip => Self::DOCKER_LAYER_GZIP,
            Compression::Zstd => Self::DOCKER_LAYER_ZSTD,
        })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it stands for.
    pub fn kind(&self) -> Kind {
        match self.0.as_str() {
            Self::OCI_MANIFEST | Self::DOCKER_MANIFEST => Kind::Manifest,
            Self::OCI_INDEX | Self::DOCKER_INDEX => Kind::Index,
            Self::OCI_CONFIG | Self::DOCKER_CONFIG => Kind::Config,
            Self::OCI_LAYER | Self::DOCKER_LAYER => Kind::Layer(Compression::Uncompressed),
            Self::OCI_LAYER_GZIP | Self::DOCKER_LAYER_GZIP => Kind::Layer(Compression::Gzip),
            Self::OCI_LAYER_ZSTD | Self::DOCKER_LAYER_ZSTD => Kind::Layer(Compression::Zstd),
            // Foreign layers keep their bytes' format; where they come from is not our concern here.
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip" => {
                Kind::Layer(Compression::Gzip)
            }
            _ => Kind::Other,
        }
    }

    /// Whether this is a Docker spelling rather than an OCI one.
    pub fn is_docker(&self) -> bool {
        self.0.starts_with("application/vnd.docker.")
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> Self {
        MediaType::new(text)
    }
}
