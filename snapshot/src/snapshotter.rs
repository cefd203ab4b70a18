//! The interface of snapshot drivers, and the life of a snapshot.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use kiln_sys::mount::Mount;

use crate::{Changes, Result};

/// The key of an active snapshot or view: chosen by whoever works in it, dropped when it is committed or removed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub String);

/// The name of a committed snapshot; kiln uses the text of the chain ID.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub String);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The state in which a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Writable, known by its key.
    Active,
    /// Read-only look at a parent, known by its key.
    View,
    /// Immutable, known by its name, may be a parent.
    Committed,
}

impl Kind {
    /// The kind's word in messages and databases.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::View => "view",
            Self::Committed => "committed",
        }
    }
}

/// What is known about a committed snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub name: Name,
    /// The snapshot it was made on.
    pub parent: Option<Name>,
    /// When it was committed.
    pub created: SystemTime,
}

/// What a snapshot itself takes on disk, without its parents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Allocated bytes.
    pub bytes: u64,
    /// Inodes; hard links count once.
    pub inodes: u64,
}

/// Keeps filesystem states that build on each other, and says how to mount them.
///
/// # Life of a snapshot
///
/// An *active* snapshot begins with [`prepare`](Self::prepare): empty, or with all that its parent has. Who asked
/// for it mounts the returned list, writes beneath it and unmounts it. Then either [`commit`](Self::commit) makes
/// it a *committed* snapshot, immutable and known by a name, or [`remove_active`](Self::remove_active) discards
/// it. A committed snapshot can be the parent of others until [`remove`](Self::remove) takes it away, which fails
/// while it has children. A *view* is read-only and can only be removed.
///
/// Keys and names are different spaces: a [`Key`] belongs to one piece of work, a [`Name`] to a content. Two
/// workers who make the same content prepare under two keys; the second to commit gets
/// [`Error::Exists`](crate::Error::Exists), removes its active snapshot and uses the first one's.
///
/// # Unpacking a layer
///
/// ```text
/// prepare("unpack-1", parent) -> mounts, tar applied beneath them -> commit(chain ID, "unpack-1")
/// ```
///
/// # A build step
///
/// ```text
/// prepare("run-7", parent) -> a container runs on the mounts -> changes("run-7") -> tar, diff ID, chain ID
///   -> commit(chain ID, "run-7"), or on Exists remove_active("run-7")
/// ```
///
/// Nothing here mounts: the list is data, and [`Mount`] makes of it a detached mount, one in a container's
/// namespace, or (in tests) one that everybody sees. Nothing here syncs either: who records a committed snapshot
/// durably does so once for many of them.
pub trait Snapshotter: Send + Sync + fmt::Debug {
    /// Begins a writable snapshot on `parent` and returns its mounts. Fails if the key is taken, the parent is
    /// not committed, or the chain is longer than can be mounted.
    fn prepare(&self, key: &Key, parent: Option<&Name>) -> Result<Vec<Mount>>;

    /// Begins a read-only look at `parent` (or at nothing) and returns its mounts.
    fn view(&self, key: &Key, parent: Option<&Name>) -> Result<Vec<Mount>>;

    /// The mounts of an active snapshot or view, for mounting it again.
    fn mounts(&self, key: &Key) -> Result<Vec<Mount>>;

    /// Turns the active snapshot `key` into the committed snapshot `name`. Fails with `Exists` if the name is
    /// taken, and leaves the active snapshot as it was.
    fn commit(&self, name: &Name, key: &Key) -> Result<()>;

    /// Discards an active snapshot or view. An unknown key is not an error: discarding twice is harmless.
    fn remove_active(&self, key: &Key) -> Result<()>;

    /// Removes a committed snapshot. Fails with `InUse` while another has it as parent.
    fn remove(&self, name: &Name) -> Result<()>;

    /// What is known about a committed snapshot, if there is one.
    fn stat(&self, name: &Name) -> Result<Option<Info>>;

    /// What a committed snapshot takes on disk.
    fn usage(&self, name: &Name) -> Result<Usage>;

    /// What an active snapshot takes on disk.
    fn usage_active(&self, key: &Key) -> Result<Usage>;

    /// The directory that holds what was written to an active snapshot (overlay: its upper directory).
    fn changes_dir(&self, key: &Key) -> Result<PathBuf>;

    /// The directory that holds a committed snapshot's own files.
    fn layer_dir(&self, name: &Name) -> Result<PathBuf>;

    /// What an active snapshot has over its parent, sorted.
    fn changes(&self, key: &Key) -> Result<Changes>;

    /// What a committed snapshot has over its parent, sorted.
    fn layer_changes(&self, name: &Name) -> Result<Changes>;

    /// The most layers that a mount of this driver stacks.
    fn most_layers(&self) -> usize {
        usize::MAX
    }

    /// Removes directories that no row names: what a crash left between a row and its directory.
    fn clean(&self) -> Result<()>;
}
