//! The content store in a directory: `blobs/<algorithm>/<hex>`, as an OCI image layout has it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::{Algorithm, Descriptor, Digest};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Info, Ingest};
use crate::db::{Db, Durability, now, unique};
use crate::error::{Error, IoContext, Result};
use crate::lease::{self, Leases, Resource};
use crate::sync;

/// The content store of a root directory; a clone is the same store.
#[derive(Debug, Clone)]
pub struct LocalContent {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    db: Arc<Db>,
    leases: Leases,
}

impl LocalContent {
    pub(crate) fn new(root: &Path, db: Arc<Db>, leases: Leases) -> Self {
        LocalContent { inner: Arc::new(Inner { root: root.to_owned(), db, leases }) }
    }

    /// What is known of a blob; `None` where it is not here.
    pub fn info(&self, digest: &Digest) -> Result<Option<Info>> {
        let size = self.inner.db.read("look up blob", |db| row(db, digest))?;
        let Some(size) = size else { return Ok(None) };
        // A row without its file is what a crash between a removal's two halves leaves, or somebody's rm.
        match fs::metadata(self.path(digest)) {
            Ok(metadata) if metadata.len() == size => Ok(Some(Info { digest: digest.clone(), size })),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("stat", &self.path(digest)),
        }
    }

    /// Opens a blob. Its bytes were verified when they came in; who hands them out again may wrap it in a verifying reader.
    pub fn reader(&self, digest: &Digest) -> Result<File> {
        if self.info(digest)?.is_none() {
            return Err(Error::not_found("blob", digest));
        }
        let path = self.path(digest);
        File::open(&path).at("open", &path)
    }

    /// Where a blob is or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.inner.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// Begins a blob with a SHA-256 digest.
    pub fn ingest(&self) -> Result<Ingest> {
        self.begin(Algorithm::Sha256, None)
    }

    /// Begins a blob that is known by its descriptor.
    pub fn ingest_described(&self, descriptor: &Descriptor) -> Result<Ingest> {
        self.begin(descriptor.digest.algorithm(), Some(descriptor.size))
    }

    /// Removes a blob; returns its size, or `None` where it was not here.
    pub fn delete(&self, digest: &Digest) -> Result<Option<u64>> {
        let trash = self.ingest_path()?;
        let freed =
            self.inner.db.write("delete blob", Durability::Relaxed, |db| self.discard(db, digest, &trash))?;
        remove_if_there(&trash)?;
        Ok(freed)
    }

    /// All blobs, in the order of their digests.
    pub fn walk(&self) -> Result<Vec<Info>> {
        self.inner.db.read("list blobs", |db| {
            let mut statement = db.prepare_cached("SELECT digest, size FROM blobs ORDER BY digest")?;
            let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
            let rows: Vec<(String, u64)> = rows.collect::<Result<_, _>>()?;
            Ok(rows
                .into_iter()
                .filter_map(|(text, size)| Some(Info { digest: text.parse().ok()?, size }))
                .collect())
        })
    }

    fn begin(&self, algorithm: Algorithm, limit: Option<u64>) -> Result<Ingest> {
        let path = self.ingest_path()?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&path)
            .at("create", &path)?;
        Ok(Ingest::new(self.clone(), path, file, algorithm, limit))
    }

    /// A new name in `ingest/` that dies with this process.
    fn ingest_path(&self) -> Result<PathBuf> {
        let process = self.inner.leases.process()?;
        Ok(self.inner.root.join("ingest").join(format!("{}.{}", process.name, unique())))
    }

    /// Gives the verified file `from` its name and its row, in one transaction.
    pub(super) fn publish(&self, from: &Path, blob: &Info) -> Result<()> {
        let path = self.path(&blob.digest);
        let written = self.inner.leases.process()?.written();
        self.inner.db.write("commit blob", Durability::Relaxed, |db| {
            lease::insert(db, &written, &Resource::Blob(blob.digest.clone()))?;
            if row(db, &blob.digest)? == Some(blob.size) && path.exists() {
                return Ok(());
            }
            fs::rename(from, &path).at("rename to", &path)?;
            sync::mark(db, sync::Kind::Blob, blob.digest.as_str())?;
            db.prepare_cached("INSERT OR REPLACE INTO blobs (digest, size, created) VALUES (?1, ?2, ?3)")?
                .execute(params![blob.digest.as_str(), blob.size, now()])?;
            Ok(())
        })
    }

    /// Deletes a blob's row and moves its file to `trash`: inside the transaction, so that nobody can commit the same blob
    /// in between and lose it.
    pub(crate) fn discard(&self, db: &Connection, digest: &Digest, trash: &Path) -> Result<Option<u64>> {
        let size = row(db, digest)?;
        db.prepare_cached("DELETE FROM blobs WHERE digest = ?1")?.execute([digest.as_str()])?;
        match fs::rename(self.path(digest), trash) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(size),
            result => result.at("remove", &self.path(digest)).map(|()| size),
        }
    }

    /// Lets go of blobs that this process wrote: something else holds them now.
    pub(crate) fn release_written<'a>(
        &self,
        db: &Connection,
        digests: impl IntoIterator<Item = &'a Digest>,
    ) -> Result<()> {
        let written = self.inner.leases.process()?.written();
        digests
            .into_iter()
            .try_for_each(|digest| lease::delete(db, &written, &Resource::Blob(digest.clone())))
    }

    /// Deletes several blobs inside a transaction; the files are gone from `blobs/` then, and freed by [`Trash::empty`].
    pub(crate) fn trash(&self) -> Trash<'_> {
        Trash { store: self, paths: Vec::new() }
    }
}

/// Files that were taken out of the store and are not deleted yet.
pub(crate) struct Trash<'a> {
    store: &'a LocalContent,
    paths: Vec<PathBuf>,
}

impl Trash<'_> {
    /// Takes a blob out of the store, inside a transaction; returns its size.
    pub(crate) fn take(&mut self, db: &Connection, digest: &Digest) -> Result<u64> {
        let path = self.store.ingest_path()?;
        let size = self.store.discard(db, digest, &path)?;
        self.paths.push(path);
        Ok(size.unwrap_or(0))
    }

    /// Deletes the files, after the transaction.
    pub(crate) fn empty(self) -> Result<()> {
        self.paths.iter().try_for_each(|path| remove_if_there(path))
    }
}

pub(crate) fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.at("remove", path),
    }
}

fn row(db: &Connection, digest: &Digest) -> Result<Option<u64>> {
    let mut statement = db.prepare_cached("SELECT size FROM blobs WHERE digest = ?1")?;
    Ok(statement.query_row([digest.as_str()], |row| row.get(0)).optional()?)
}
