//! The exporters `oci` and `docker`: one archive that both kinds of tools read.

use std::io::{self, Read};

use kiln_cache::Store;
use kiln_oci::archive::{Blobs, SavedImage, write};
use kiln_oci::parse::MAX_MANIFEST;
use kiln_oci::{Descriptor, Reference};

use super::{Destination, write_error};
use crate::error::Cause;

/// Writes the archive of an image, or of an index, whose layers are blobs of the store.
pub fn save(store: &Store, root: &Descriptor, names: &[Reference], dest: Destination) -> Result<(), Cause> {
    let image = saved(store, root, names)?;
    dest.fill(|out| write(out, &[image], &Stored { store }).map(drop).map_err(write_error))
}

/// The image as it is written, whether as an archive or as a directory.
pub(super) fn saved(store: &Store, root: &Descriptor, names: &[Reference]) -> Result<SavedImage, Cause> {
    Ok(SavedImage {
        names: names.to_vec(),
        root: store.content.read(&root.digest, MAX_MANIFEST as u64)?,
        annotations: root.annotations.clone(),
    })
}

/// Blobs of a store.
#[derive(Debug)]
pub struct Stored<'a> {
    /// The store.
    pub store: &'a Store,
}

impl Blobs for Stored<'_> {
    fn open(&self, descriptor: &Descriptor) -> io::Result<Box<dyn Read + Send + '_>> {
        let file = self.store.content.reader(&descriptor.digest).map_err(io::Error::other)?;
        Ok(Box::new(file))
    }
}
