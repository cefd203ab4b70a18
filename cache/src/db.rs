//! The one database file, `kiln.db`: opening, its schema's version, and transactions.
//!
//! Several processes and threads use it at once. Readers never wait (WAL). Writers of one process queue on a mutex, which
//! is fairer and faster than SQLite's busy polling; writers of different processes use that polling.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::error::{Error, IoContext, Result};

/// The name of the database in a store's root.
pub(crate) const DATABASE: &str = "kiln.db";
/// What makes a schema of the one before, from an empty file on. Added to, never changed.
const SCHEMAS: [&str; 3] = [
    include_str!("schema.sql"),
    include_str!("schema/referrers.sql"),
    include_str!("schema/context_trees.sql"),
];
/// The newest schema that this code reads and writes.
const SCHEMA_VERSION: i64 = SCHEMAS.len() as i64;
/// How long a writer waits for the writers of other processes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Statements kept compiled, a connection.
const CACHED_STATEMENTS: usize = 128;
/// Pages in the log that make any commit copy it into the database, which waits for the disk.
const LOG_PAGES: i64 = 1024;
/// Pages in the log that make the commit of somebody who has the time copy it.
const LONG_LOG_PAGES: i64 = 128;
/// Connections kept open for the next user, a process.
const IDLE_CONNECTIONS: usize = 8;

/// Whether a commit must survive a power cut at once.
///
/// A relaxed commit survives the death of the process, and after a power cut the database is as it was after some earlier
/// commit; a durable one costs a sync of the log (0.1–0.2 ms) and makes all commits before it durable too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    Relaxed,
    Durable,
}

/// The database; shared by all threads of a process.
pub struct Db {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    writer: Mutex<()>,
    log_pages: AtomicI64,
}

impl Db {
    /// Opens `path`, and makes it with mode 0600 where it is not there.
    pub fn open(path: &Path) -> Result<Db> {
        create_private(path)?;
        let log_pages = AtomicI64::new(LOG_PAGES);
        let db = Db { path: path.to_owned(), idle: Mutex::default(), writer: Mutex::default(), log_pages };
        let mut connection = db.connect()?;
        prepare_schema(&mut connection, path)?;
        db.put_back(connection);
        Ok(db)
    }

    /// Runs `f` in one read transaction: it sees one state, whatever others commit meanwhile.
    pub(crate) fn read<T>(
        &self,
        operation: &'static str,
        f: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let run = || {
            let mut connection = self.take()?;
            let transaction = connection.transaction()?;
            let value = f(&transaction)?;
            transaction.finish()?;
            self.put_back(connection);
            Ok(value)
        };
        run().map_err(|error: Error| error.during(operation))
    }

    /// Runs `f` in one write transaction, which is committed if `f` succeeds. It excludes all other writers, of other
    /// processes too, so files may be renamed in step with rows inside it.
    pub(crate) fn write<T>(
        &self,
        operation: &'static str,
        durability: Durability,
        f: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let run = || {
            let _turn = lock(&self.writer);
            let mut connection = self.take()?;
            let value = commit(&mut connection, durability, f)?;
            self.put_back(connection);
            Ok(value)
        };
        run().map_err(|error: Error| error.during(operation))
    }

    /// Says that nobody waits for this process any more: its next commits keep the log short for others.
    pub fn take_time(&self) -> Result<()> {
        self.log_pages.store(LONG_LOG_PAGES, Ordering::Relaxed);
        for connection in lock(&self.idle).iter() {
            connection.pragma_update(None, "wal_autocheckpoint", LONG_LOG_PAGES)?;
        }
        Ok(())
    }

    fn take(&self) -> Result<Connection> {
        let idle = lock(&self.idle).pop();
        idle.map_or_else(|| self.connect(), Ok)
    }

    /// A connection comes back only from a transaction that ended well; others are closed.
    fn put_back(&self, connection: Connection) {
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(connection);
        }
    }

    fn connect(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        // Whoever closes last would copy the whole log into the database and sync both: milliseconds at the end of every
        // command. The log is copied when it is long (SQLite's automatic checkpoint) instead, mostly by processes for which
        // nobody waits. It is kept short, since the next process to open the database alone reads all of it: 1.4 ms for a
        // thousand pages.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;")?;
        connection.pragma_update(None, "wal_autocheckpoint", self.log_pages.load(Ordering::Relaxed))?;
        Ok(connection)
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("path", &self.path).finish_non_exhaustive()
    }
}

fn commit<T>(
    connection: &mut Connection,
    durability: Durability,
    f: impl FnOnce(&Transaction<'_>) -> Result<T>,
) -> Result<T> {
    if durability == Durability::Durable {
        connection.execute_batch("PRAGMA synchronous = FULL")?;
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = f(&transaction)?;
    transaction.commit()?;
    if durability == Durability::Durable {
        connection.execute_batch("PRAGMA synchronous = NORMAL")?;
    }
    Ok(value)
}

/// SQLite would make the file with the process's umask, readable for all; its log files inherit the mode set here.
///
/// The file gets its name by a link when it is closed again: closing any descriptor of a database drops the POSIX locks
/// that this process has on it, and another thread may have opened it as soon as it has its name.
fn create_private(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let nameless = path.with_extension(format!("new-{}-{:x}", std::process::id(), unique()));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&nameless)
        .map(drop)
        .at("create", &nameless)?;
    let linked = match fs::hard_link(&nameless, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.at("create", path),
    };
    fs::remove_file(&nameless).at("remove", &nameless)?;
    linked
}

fn prepare_schema(connection: &mut Connection, path: &Path) -> Result<()> {
    if schema_version(connection, path)? == SCHEMA_VERSION {
        return Ok(());
    }
    // Changing the journal mode does not wait for other connections by itself; one process after the other does.
    let directory = path.parent().unwrap_or(Path::new("."));
    let turn = File::open(directory).at("open", directory)?;
    turn.lock().at("lock", directory)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    debug_assert_eq!(mode, "wal");
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Somebody else may have been first.
    let found = usize::try_from(schema_version(&transaction, path)?).unwrap_or(0);
    SCHEMAS[found..].iter().try_for_each(|schema| transaction.execute_batch(schema))?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()?;
    Ok(())
}

fn schema_version(connection: &Connection, path: &Path) -> Result<i64> {
    let found = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(Error::NewerSchema { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    Ok(found)
}

/// Locks `mutex`; what it guards here stays sound when a holder panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time now, in the database's unit.
pub(crate) fn now() -> i64 {
    millis(SystemTime::now())
}

/// `time` in the database's unit.
pub(crate) fn millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A time from the database.
pub(crate) fn time(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// A number that no other call in this process gets.
pub(crate) fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
