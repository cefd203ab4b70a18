//! Directories of `RUN --mount=type=cache`, shared among builds of several processes under file locks.
//!
//! `cachemounts/<hash of the id>-<n>/{lock,data}`. A user holds `lock` with `flock`, so a killed build frees it at once.
//! Shared users hold it shared; a locked user holds it alone and waits; a private user takes the first number that nobody
//! holds and makes a new one if all are taken.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kiln_oci::Digest;
use rusqlite::params;

use crate::db::{Db, Durability, now, unique};
use crate::error::{Error, IoContext, Result};

/// How often a waiting user looks again; `flock` itself cannot be cancelled.
const POLL: Duration = Duration::from_millis(20);
/// The most private copies of one directory.
const MAX_COPIES: usize = 1000;

/// How directories are called that are being deleted.
const TRASH: &str = "trash-";

/// Who may use a cache directory at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Everybody.
    Shared,
    /// One at a time; others get a directory of their own.
    Private,
    /// One at a time; others wait.
    Locked,
}

/// The cache directories of a store.
#[derive(Debug, Clone)]
pub struct CacheDirs {
    dir: PathBuf,
    db: Arc<Db>,
}

/// A cache directory in use, until it is dropped.
#[derive(Debug)]
pub struct CacheDir {
    path: PathBuf,
    fresh: bool,
    _lock: File,
}

impl CacheDir {
    /// The directory to mount.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was made just now and wants its first content, owner and mode.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }
}

impl CacheDirs {
    pub(crate) fn new(dir: PathBuf, db: Arc<Db>) -> Self {
        CacheDirs { dir, db }
    }

    /// Takes the directory `id` into use. A locked one may have to be waited for, until `cancelled` says stop.
    pub fn acquire(&self, id: &str, sharing: Sharing, cancelled: &dyn Fn() -> bool) -> Result<CacheDir> {
        let copies = if sharing == Sharing::Private { MAX_COPIES } else { 1 };
        loop {
            for copy in 0..copies {
                if let Some(dir) = self.try_acquire(id, copy, sharing)? {
                    return Ok(dir);
                }
            }
            if cancelled() {
                return Err(Error::Cancelled { what: format!("the cache mount `{id}`") });
            }
            thread::sleep(POLL);
        }
    }

    /// Removes what nobody uses and was not used since `before` (milliseconds); returns the bytes freed.
    pub(crate) fn prune(&self, before: i64) -> Result<u64> {
        let names = self.db.read("list cache mounts", |db| {
            let mut statement = db.prepare("SELECT name FROM cache_dirs WHERE used <= ?1")?;
            let rows = statement.query_map([before], |row| row.get::<_, String>(0))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })?;
        names.iter().try_fold(0, |freed, name| Ok(freed + self.remove_if_unused(name)?))
    }

    /// The bytes in all directories, and how many there are.
    pub(crate) fn usage(&self) -> Result<(usize, u64)> {
        let mut total = (0, 0);
        for entry in fs::read_dir(&self.dir).at("read directory", &self.dir)? {
            let entry = entry.at("read directory", &self.dir)?;
            total = (total.0 + 1, total.1 + crate::usage::tree_bytes(&entry.path())?);
        }
        Ok(total)
    }

    fn try_acquire(&self, id: &str, copy: usize, sharing: Sharing) -> Result<Option<CacheDir>> {
        let name = format!("{}-{copy}", &Digest::of(id.as_bytes()).hex()[..32]);
        let place = self.dir.join(&name);
        make_dir(&place)?;
        let Some(lock) = try_lock(&place.join("lock"), sharing)? else { return Ok(None) };
        let path = place.join("data");
        let fresh = !path.exists();
        if fresh {
            make_dir(&path)?;
        }
        self.note_use(&name, id)?;
        Ok(Some(CacheDir { path, fresh, _lock: lock }))
    }

    fn note_use(&self, name: &str, id: &str) -> Result<()> {
        self.db.write("save cache mount", Durability::Relaxed, |db| {
            db.prepare_cached(
                "INSERT INTO cache_dirs (name, id, created, used) VALUES (?1, ?2, ?3, ?3)
                 ON CONFLICT (name) DO UPDATE SET used = excluded.used",
            )?
            .execute(params![name, id, now()])?;
            Ok(())
        })
    }

    /// The lock is held while the directory goes; who waits for it sees that the file has moved and begins again.
    fn remove_if_unused(&self, name: &str) -> Result<u64> {
        let place = self.dir.join(name);
        let lock_path = place.join("lock");
        let freed = match place.exists() {
            false => 0,
            true => {
                let Some(_lock) = try_lock(&lock_path, Sharing::Locked)? else { return Ok(0) };
                let trash = self.dir.join(format!("{TRASH}{}-{}", std::process::id(), unique()));
                fs::rename(&place, &trash).at("rename", &place)?;
                let bytes = crate::usage::tree_bytes(&trash)?;
                fs::remove_dir_all(&trash).at("remove", &trash)?;
                bytes
            }
        };
        self.db.write("forget cache mount", Durability::Relaxed, |db| {
            db.execute("DELETE FROM cache_dirs WHERE name = ?1", [name])?;
            Ok(())
        })?;
        Ok(freed)
    }
}

/// Locks the file at `path` as `sharing` wants it, or says that it is taken.
fn try_lock(path: &Path, sharing: Sharing) -> Result<Option<File>> {
    let file = match OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path) {
        // A collector removed the directory after we made it; the caller comes again.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.at("open", path)?,
    };
    let locked = if sharing == Sharing::Shared { file.try_lock_shared() } else { file.try_lock() };
    match locked {
        Ok(()) => Ok(is_still_there(&file, path)?.then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).at("lock", path),
    }
}

/// Whether `path` is the file that we locked, and was not moved away in the meantime.
fn is_still_there(file: &File, path: &Path) -> Result<bool> {
    let ours = file.metadata().at("stat", path)?;
    Ok(fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())))
}

fn make_dir(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.at("create", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(root: &Path) -> CacheDirs {
        let db = Arc::new(Db::open(&root.join("kiln.db")).unwrap());
        let dir = root.join("cachemounts");
        make_dir(&dir).unwrap();
        CacheDirs::new(dir, db)
    }

    #[test]
    fn sharing_modes() {
        let root = tempfile::tempdir().unwrap();
        let dirs = dirs(root.path());
        let give_up = || true;
        let first = dirs.acquire("npm", Sharing::Shared, &give_up).unwrap();
        assert!(first.is_fresh());
        let second = dirs.acquire("npm", Sharing::Shared, &give_up).unwrap();
        assert!(!second.is_fresh());
        assert_eq!(first.path(), second.path());
        let error = dirs.acquire("npm", Sharing::Locked, &give_up).unwrap_err();
        assert_eq!(error.to_string(), "waiting for the cache mount `npm` was cancelled");
        let own = dirs.acquire("npm", Sharing::Private, &give_up).unwrap();
        assert_ne!(own.path(), first.path());
        drop((first, second));
        let locked = dirs.acquire("npm", Sharing::Locked, &give_up).unwrap();
        assert!(dirs.acquire("npm", Sharing::Shared, &give_up).is_err());
        drop(locked);
    }

    #[test]
    fn pruning_spares_what_is_used() {
        let root = tempfile::tempdir().unwrap();
        let dirs = dirs(root.path());
        let used = dirs.acquire("a", Sharing::Locked, &|| true).unwrap();
        let unused = dirs.acquire("b", Sharing::Locked, &|| true).unwrap().path().to_owned();
        fs::write(unused.join("file"), [1; 5000]).unwrap();
        assert!(dirs.prune(i64::MAX).unwrap() >= 5000);
        assert!(used.path().exists());
        assert!(!unused.exists());
    }
}
