//! Reading: `docker save` archives of any age and OCI archives, from a seekable file.

use std::io::{self, Read, Seek};

use crate::{Descriptor, DiffId, ImageConfig};

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Reading failed.
    #[error("cannot read the archive")]
    Io(#[from] io::Error),
}

/// A `save` archive, its entries found and none of their content read yet.
#[derive(Debug)]
pub struct Archive<R> {
    file: R,
}

/// An image in an archive.
#[derive(Debug, Clone)]
pub struct LoadedImage {
    /// The names it goes by, in full form; empty where it has none.
    pub names: Vec<String>,
    /// The manifest's bytes as they were, where the archive has one (OCI archives do, old Docker ones do not).
    pub manifest: Option<Vec<u8>>,
    /// The configuration.
    pub config: ImageConfig,
    /// The configuration's bytes.
    pub config_bytes: Vec<u8>,
    /// The layers, lowest first.
    pub layers: Vec<LoadedLayer>,
}

/// A layer in an archive: a range of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedLayer {
    /// What the configuration says the uncompressed content's digest is.
    pub diff_id: DiffId,
    /// The manifest's descriptor, where there is one.
    pub descriptor: Option<Descriptor>,
    /// Where it starts in the file.
    pub offset: u64,
    /// How many bytes it has there, compressed or not.
    pub size: u64,
}

impl<R: Read + Seek> Archive<R> {
    /// Finds the entries of `file`, an uncompressed tar.
    pub fn open(file: R) -> Result<Self, ArchiveError> {
        Ok(Archive { file })
    }

    /// The images, verified against their digests.
    pub fn images(&mut self) -> Result<Vec<LoadedImage>, ArchiveError> {
        todo!()
    }

    /// The content of `layer` as it is in the archive; verified where it has a descriptor.
    pub fn layer(&mut self, layer: &LoadedLayer) -> io::Result<Box<dyn Read + '_>> {
        let _ = (layer, &mut self.file);
        todo!()
    }
}
