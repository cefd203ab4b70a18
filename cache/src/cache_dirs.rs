//! Directories of `RUN --mount=type=cache`, shared among builds of several processes under file locks.
//!
//! `cachemounts/<hash of the id>-<n>/{lock,data}`. A user holds `lock` with `flock`, so a killed build frees it at once.
//! Shared users hold it shared; a locked user holds it alone and waits; a private user takes the first number that nobody
//! holds and makes a new one if all are taken. A new directory is filled under another name while its lock is held alone,
//! so nobody sees half of its first content, whenever the process that fills it is killed.

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

/// Which directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheDirId<'a> {
    /// The name that people gave it; any text, as only its hash becomes part of a path.
    pub name: &'a str,
    /// What a new one begins with, in any words: directories that begin differently are different ones.
    pub beginning: &'a str,
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
    _lock: File,
}

impl CacheDir {
    /// The directory to mount.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl CacheDirs {
    pub(crate) fn new(dir: PathBuf, db: Arc<Db>) -> Self {
        CacheDirs { dir, db }
    }

    /// Takes the directory `id` into use, if need be a new one that `fill` gave its content. A locked one may have to be
    /// waited for, until `cancelled` says stop.
    pub fn acquire<E: From<Error>>(
        &self,
        id: CacheDirId<'_>,
        sharing: Sharing,
        cancelled: &dyn Fn() -> bool,
        fill: &dyn Fn(&Path) -> Result<(), E>,
    ) -> Result<CacheDir, E> {
        let copies = if sharing == Sharing::Private { MAX_COPIES } else { 1 };
        loop {
            for copy in 0..copies {
                if let Some(dir) = self.try_acquire(id, copy, sharing, fill)? {
                    return Ok(dir);
                }
            }
            if cancelled() {
                return Err(Error::Cancelled { what: format!("the cache mount `{}`", id.name) }.into());
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

    fn try_acquire<E: From<Error>>(
        &self,
        id: CacheDirId<'_>,
        copy: usize,
        sharing: Sharing,
        fill: &dyn Fn(&Path) -> Result<(), E>,
    ) -> Result<Option<CacheDir>, E> {
        let hash = Digest::of(format!("{}\0{}", id.beginning, id.name).as_bytes());
        let name = format!("{}-{copy}", &hash.hex()[..32]);
        let place = self.dir.join(&name);
        make_dir(&place)?;
        let path = place.join("data");
        if !path.exists() && !make_content(&place, fill)? {
            return Ok(None);
        }
        let Some(lock) = try_lock(&place.join("lock"), sharing)? else { return Ok(None) };
        if !path.exists() {
            // A collector came in between.
            return Ok(None);
        }
        self.note_use(&name, id.name)?;
        Ok(Some(CacheDir { path, _lock: lock }))
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

/// Makes `data` in `place`; `false` where somebody else is there.
fn make_content<E: From<Error>>(place: &Path, fill: &dyn Fn(&Path) -> Result<(), E>) -> Result<bool, E> {
    let Some(_lock) = try_lock(&place.join("lock"), Sharing::Locked)? else { return Ok(false) };
    let (new, data) = (place.join("new"), place.join("data"));
    if data.exists() {
        return Ok(true);
    }
    if new.exists() {
        // Of a process that was killed.
        fs::remove_dir_all(&new).at("remove", &new)?;
    }
    make_dir(&new)?;
    fill(&new)?;
    fs::rename(&new, &data).at("rename", &new)?;
    Ok(true)
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

    fn named(name: &str) -> CacheDirId<'_> {
        CacheDirId { name, beginning: "" }
    }

    fn take(dirs: &CacheDirs, name: &str, sharing: Sharing) -> Result<CacheDir> {
        dirs.acquire(named(name), sharing, &|| true, &|_| Ok(()))
    }

    #[test]
    fn sharing_modes() {
        let root = tempfile::tempdir().unwrap();
        let dirs = dirs(root.path());
        let first = take(&dirs, "npm", Sharing::Shared).unwrap();
        let second = take(&dirs, "npm", Sharing::Shared).unwrap();
        assert_eq!(first.path(), second.path());
        let error = take(&dirs, "npm", Sharing::Locked).unwrap_err();
        assert_eq!(error.to_string(), "waiting for the cache mount `npm` was cancelled");
        let own = take(&dirs, "npm", Sharing::Private).unwrap();
        assert_ne!(own.path(), first.path());
        drop((first, second));
        let locked = take(&dirs, "npm", Sharing::Locked).unwrap();
        assert!(take(&dirs, "npm", Sharing::Shared).is_err());
        drop(locked);
    }

    #[test]
    fn a_new_one_is_filled_once_and_never_seen_half() {
        let root = tempfile::tempdir().unwrap();
        let dirs = dirs(root.path());
        let fail = |_: &Path| Err(Error::not_found("base", "x"));
        assert!(dirs.acquire(named("npm"), Sharing::Shared, &|| true, &fail).is_err());
        let fill = |new: &Path| fs::write(new.join("first"), "").at("write", new);
        let dir = dirs.acquire(named("npm"), Sharing::Shared, &|| true, &fill).unwrap();
        assert!(dir.path().join("first").exists());
        assert_eq!(dirs.acquire(named("npm"), Sharing::Shared, &|| true, &fail).unwrap().path(), dir.path());
        let other = CacheDirId { beginning: "elsewhere", ..named("npm") };
        assert_ne!(dirs.acquire(other, Sharing::Shared, &|| true, &fill).unwrap().path(), dir.path());
    }

    /// Safety table B17: the exact names of CVE-2024-9675, and more of their kind.
    #[test]
    fn names_never_become_paths() {
        let root = tempfile::tempdir().unwrap();
        let dirs = dirs(root.path());
        for name in ["../../../..", "/etc", "..", ".", "", "a/b", "x\0y", &"long".repeat(4000)] {
            let dir = take(&dirs, name, Sharing::Shared).unwrap();
            let place = dir.path().parent().unwrap();
            assert_eq!(place.parent(), Some(root.path().join("cachemounts").as_path()), "{name:?}");
            let own = place.file_name().unwrap().to_str().unwrap();
            assert!(own.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'), "{own}");
        }
    }

    #[test]
    fn pruning_spares_what_is_used() {
        let root = tempfile::tempdir().unwrap();
        let dirs = dirs(root.path());
        let used = take(&dirs, "a", Sharing::Locked).unwrap();
        let unused = take(&dirs, "b", Sharing::Locked).unwrap().path().to_owned();
        fs::write(unused.join("file"), [1; 5000]).unwrap();
        assert!(dirs.prune(i64::MAX).unwrap() >= 5000);
        assert!(used.path().exists());
        assert!(!unused.exists());
    }
}
