//! What becomes of a build's result, one exporter a file.

mod ahead;
pub mod annotations;
pub mod archive;
pub mod attributes;
mod built;
mod deliver;
mod files;
mod history;
pub mod image;
mod layers;
mod layout;
mod names;
pub mod options;
mod prune;
mod time;
mod tree;

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use kiln_oci::{Descriptor, Digest, Reference};
use kiln_sys::fs::WholeFile;

use crate::error::Cause;
use crate::tree::TakeTree;
use options::{ImageOptions, LocalMode, Place};

pub(crate) use built::{Built, Image};
pub(crate) use deliver::deliver;
pub use image::{Composed, Writing, compose};
pub use layers::{Form, ImageLayer, Reshape, layers};
pub use time::rfc3339;

/// What a build's result is made into. [`attributes::export`] makes one of what people type.
pub enum Export {
    /// An image in the store, at registries, or both; without names a dangling one.
    Image {
        /// How it is made.
        image: ImageOptions,
        /// Where it goes.
        place: Place,
    },
    /// An archive of an OCI layout.
    Oci {
        /// How its image is made.
        image: ImageOptions,
        /// Where it is written.
        dest: Destination,
    },
    /// An OCI layout as a directory; what is there already stays.
    Layout {
        /// How its image is made.
        image: ImageOptions,
        /// The directory; made where missing.
        dest: PathBuf,
    },
    /// An archive for `docker load`, which takes one platform.
    Docker {
        /// How its image is made.
        image: ImageOptions,
        /// Where it is written.
        dest: Destination,
    },
    /// The files in a directory of this machine; in one folder a platform, `linux_arm64`, where the build is for several.
    Local {
        /// The directory; made where missing.
        dest: PathBuf,
        /// Whether each platform gets a folder; `None` is where the build is for several.
        split: Option<bool>,
        /// What becomes of other files that are there.
        mode: LocalMode,
        /// The time of every file, in seconds; `None` is the build's own, else that of the file.
        epoch: Option<i64>,
        /// What is in front of the names of files with statements.
        prefix: String,
    },
    /// The files as a tar, with the same folders.
    Tar {
        /// Where it is written.
        dest: Destination,
        /// Whether each platform gets a folder; `None` is where the build is for several.
        split: Option<bool>,
        /// The latest time that a file may have, in seconds; `None` is the build's own.
        epoch: Option<i64>,
        /// What is in front of the names of files with statements.
        prefix: String,
    },
    /// The files, with the same folders, for somebody who takes them one by one.
    Files {
        /// Who does.
        to: Box<dyn TakeTree>,
        /// Whether each platform gets a folder; `None` is where the build is for several.
        split: Option<bool>,
        /// The time of every file, in seconds; `None` is the build's own, else that of the file.
        epoch: Option<i64>,
        /// What is in front of the names of files with statements.
        prefix: String,
    },
    /// Nothing: the build is done for its cache.
    CacheOnly,
}

impl Export {
    /// What progress says of it.
    pub fn name(&self) -> &'static str {
        match self {
            Export::Image { .. } => "exporting to image",
            Export::Oci { .. } | Export::Layout { .. } => "exporting to oci image format",
            Export::Docker { .. } => "exporting to docker image format",
            Export::Local { .. } | Export::Files { .. } => "exporting to client directory",
            Export::Tar { .. } => "exporting to client tarball",
            Export::CacheOnly => "keeping the cache",
        }
    }

    /// How its image is made, where it makes one.
    pub fn image(&self) -> Option<&ImageOptions> {
        match self {
            Export::Image { image, .. }
            | Export::Oci { image, .. }
            | Export::Layout { image, .. }
            | Export::Docker { image, .. } => Some(image),
            Export::Local { .. } | Export::Tar { .. } | Export::Files { .. } | Export::CacheOnly => None,
        }
    }

    /// The same, to be changed.
    pub fn image_mut(&mut self) -> Option<&mut ImageOptions> {
        match self {
            Export::Image { image, .. }
            | Export::Oci { image, .. }
            | Export::Layout { image, .. }
            | Export::Docker { image, .. } => Some(image),
            Export::Local { .. } | Export::Tar { .. } | Export::Files { .. } | Export::CacheOnly => None,
        }
    }

    /// Whether it reads the blobs of its image.
    pub(crate) fn reads_blobs(&self) -> bool {
        matches!(self, Export::Oci { .. } | Export::Layout { .. } | Export::Docker { .. })
    }

    /// Whether it needs its layers packed rather than as they are in the store.
    pub(crate) fn packs(&self) -> bool {
        match self {
            Export::Image { image, place } => place.push || image.wants_packed(),
            _ => self.image().is_some(),
        }
    }
}

/// Where a stream of an export goes.
pub enum Destination {
    /// A file, which appears whole or not at all.
    File(PathBuf),
    /// A stream, for example standard output.
    Stream(Box<dyn Write + Send + Sync>),
}

/// An image that was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The manifest, or the index where the build is for several platforms.
    pub manifest: Descriptor,
    /// The digest of its configuration; of an index that of none.
    pub config: Option<Digest>,
    /// The names that it got: in the store, at registries and in archives.
    pub names: Vec<Reference>,
    /// Whether registries have it.
    pub pushed: bool,
}

impl Exported {
    /// The image's id: the digest of its configuration, or of the index.
    pub fn id(&self) -> &Digest {
        self.config.as_ref().unwrap_or(&self.manifest.digest)
    }
}

impl Destination {
    /// Writes what `write` writes.
    pub fn fill(self, write: impl FnOnce(&mut dyn Write) -> Result<(), Cause>) -> Result<(), Cause> {
        match self {
            Destination::Stream(mut stream) => {
                write(&mut stream)?;
                stream.flush().map_err(Cause::io("write the export"))
            }
            Destination::File(path) => fill_file(&path, write),
        }
    }
}

fn fill_file(
    path: &std::path::Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Cause>,
) -> Result<(), Cause> {
    let action = || format!("write `{}`", path.display());
    let (whole, file) = WholeFile::create(path).map_err(Cause::io(action()))?;
    let mut file = BufWriter::new(file);
    write(&mut file)?;
    file.into_inner().map_err(|error| Cause::Io { action: action(), source: error.into_error() })?;
    whole.finish().map_err(Cause::io(action()))
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("name", &self.name())
            .field("image", &self.image())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::File(path) => f.debug_tuple("File").field(path).finish(),
            Destination::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// A writer's error as ours, unless a reader of ours put a better one inside.
pub(crate) fn write_error(error: io::Error) -> Cause {
    Cause::Io { action: "write the export".to_owned(), source: error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.tar");
        let broken = Destination::File(path.clone()).fill(|out| {
            out.write_all(b"half").unwrap();
            Err(Cause::Cancelled)
        });
        assert!(broken.is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        Destination::File(path.clone()).fill(|out| out.write_all(b"whole").map_err(write_error)).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"whole");
    }
}
