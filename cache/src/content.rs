//! The content store: bytes by digest, which appear whole and verified or not at all.
//!
//! There is one store and so no trait: [`LocalContent`]. A blob is written through an [`Ingest`], which hashes what passes
//! and gives it its name only by [`Ingest::commit`]; dropped before that, it leaves nothing. A process that is killed leaves
//! a file in `ingest/` that carries the name of its lease, by which the next start finds it.
//!
//! Who writes a blob holds it: until an image that has it is saved, or the process ends. So nothing collects a config between
//! its commit and its image.
//!
//! A blob is there when its row in the database and its file are both there; the file is renamed inside the transaction that
//! writes the row. Whether the bytes survive a power cut is a separate question, answered in `sync.rs`.

mod growing;
mod local;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use kiln_oci::{Algorithm, Descriptor, Digest, Digester, MediaType};

use crate::error::{Error, IoContext, Result};

pub use growing::{Growing, GrowingReader};
pub use local::LocalContent;
pub(crate) use local::{Trash, remove_if_there};

/// What is known of a blob without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// A blob that is being written; abandoned when it is dropped.
pub struct Ingest {
    store: LocalContent,
    path: PathBuf,
    file: File,
    digester: Digester,
    size: u64,
    /// Writing past this many bytes is an error, so that a long body is refused when it becomes too long and not later.
    limit: Option<u64>,
    /// Who is told how far it has come.
    growing: Option<Growing>,
}

impl Ingest {
    fn new(store: LocalContent, path: PathBuf, file: File, algorithm: Algorithm, limit: Option<u64>) -> Self {
        Ingest { store, path, file, digester: Digester::new(algorithm), size: 0, limit, growing: None }
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of what was written so far.
    pub fn digest(&self) -> Digest {
        self.digester.clone().finish()
    }

    /// The blob for those who read it while it is written.
    pub(crate) fn growing(&mut self) -> Result<Growing> {
        let file = self.file.try_clone().at("open", &self.path)?;
        Ok(self.growing.insert(Growing::new(file, self.size)).clone())
    }

    /// Makes the blob visible under the digest of what was written, if that and the length are the expected ones.
    /// That the blob is there already is success.
    pub fn commit(self, expected: Option<(&Digest, u64)>) -> Result<Info> {
        let found = Info { digest: self.digester.clone().finish(), size: self.size };
        if let Some((digest, size)) = expected {
            if found.size != size {
                return Err(Error::WrongSize { digest: digest.clone(), expected: size, found: found.size });
            }
            if found.digest != *digest {
                return Err(Error::WrongDigest { expected: digest.clone(), found: found.digest });
            }
        }
        self.store.publish(&self.path, &found)?;
        if let Some(growing) = &self.growing {
            growing.end(true);
        }
        Ok(found)
    }

    /// [`Ingest::commit`] for a described blob.
    pub fn commit_as(self, descriptor: &Descriptor) -> Result<Info> {
        self.commit(Some((&descriptor.digest, descriptor.size)))
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.limit.is_some_and(|limit| self.size + bytes.len() as u64 > limit) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more bytes than were announced"));
        }
        let written = self.file.write(bytes)?;
        self.digester.update(&bytes[..written]);
        self.size += written as u64;
        match &self.growing {
            Some(growing) if !growing.grow(self.size) => Err(io::Error::other("the blob was given up")),
            _ => Ok(written),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if let Some(growing) = &self.growing {
            growing.end(false);
        }
        // After a commit the file has another name; then there is nothing here to remove.
        let _ = fs::remove_file(&self.path);
    }
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest").field("path", &self.path).field("size", &self.size).finish_non_exhaustive()
    }
}

impl LocalContent {
    /// Stores a small document and describes it.
    pub fn put(&self, media_type: impl Into<MediaType>, bytes: &[u8]) -> Result<Descriptor> {
        let descriptor = Descriptor::of(media_type, bytes);
        if self.info(&descriptor.digest)?.is_none() {
            let mut ingest = self.ingest()?;
            ingest.write_all(bytes).at("write", &ingest.path)?;
            ingest.commit_as(&descriptor)?;
        }
        Ok(descriptor)
    }

    /// Reads a document of at most `limit` bytes and verifies its digest.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let info = self.info(digest)?.ok_or_else(|| Error::not_found("blob", digest))?;
        if info.size > limit {
            return Err(Error::WrongSize { digest: digest.clone(), expected: limit, found: info.size });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(info.size).unwrap_or(0));
        self.reader(digest)?.take(limit).read_to_end(&mut bytes).at("read", &self.path(digest))?;
        let mut digester = Digester::new(digest.algorithm());
        digester.update(&bytes);
        match digester.finish() {
            found if found == *digest => Ok(bytes),
            found => Err(Error::WrongDigest { expected: digest.clone(), found }),
        }
    }

    /// Copies a described stream into the store: verified, refused as soon as it is too long.
    pub fn copy_in(&self, descriptor: &Descriptor, mut bytes: impl Read) -> Result<()> {
        let mut ingest = self.ingest_described(descriptor)?;
        io::copy(&mut bytes, &mut ingest).map_err(|source| Error::Stream {
            operation: "store blob",
            object: descriptor.digest.to_string(),
            source,
        })?;
        ingest.commit_as(descriptor).map(drop)
    }
}

/// Removes the unfinished files of a dead process; `leases` is the directory beside `ingest`. Returns how many.
pub(crate) fn remove_ingests_of(leases: &Path, process: &str) -> Result<usize> {
    let dir = leases.with_file_name("ingest");
    let prefix = format!("{process}.");
    let mut removed = 0;
    for entry in fs::read_dir(&dir).at("read directory", &dir)? {
        let entry = entry.at("read directory", &dir)?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_file(entry.path()).at("remove", &entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}
