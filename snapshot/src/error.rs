//! What can go wrong with snapshots, layer tars and copies, each naming its object.

use std::io;

use kiln_sys::Errno;
use kiln_sys::fs::Owner;
use kiln_sys::user_namespace::is_confined;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key or name is taken.
    #[error("snapshot `{0}` already exists")]
    Exists(String),
    /// No snapshot has this key or name.
    #[error("snapshot `{0}` does not exist")]
    NotFound(String),
    /// The operation does not fit the snapshot's kind.
    #[error("snapshot `{name}` is {actual}, not {wanted}")]
    WrongKind {
        /// Its key or name.
        name: String,
        /// What it is.
        actual: &'static str,
        /// What the operation works on.
        wanted: &'static str,
    },
    /// A committed snapshot still has children.
    #[error("snapshot `{name}` is the parent of `{child}`")]
    InUse {
        /// The snapshot to be removed.
        name: String,
        /// One of its children.
        child: String,
    },
    /// More layers than the kernel stacks.
    #[error("{count} layers cannot be stacked: overlayfs takes at most {limit}")]
    TooManyLayers {
        /// How many there are.
        count: usize,
        /// How many overlayfs takes.
        limit: usize,
    },
    /// The store of snapshot rows failed.
    #[error("snapshot metadata: {0}")]
    Meta(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A system call failed.
    #[error(transparent)]
    Sys(#[from] kiln_sys::error::Error),
    /// A stream or a file failed.
    #[error("{operation} `{object}`: {source}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        object: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A tar is malformed or hostile.
    #[error("tar entry {entry} (`{path}`): {reason}")]
    Entry {
        /// The entry's position in the tar, from 1.
        entry: u64,
        /// Its path as written, if known by then.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer exceeds a named limit.
    #[error("layer exceeds the limit `{limit}` of {maximum}")]
    Limit {
        /// The limit's name.
        limit: &'static str,
        /// Its value.
        maximum: u64,
    },
    /// Two names of a tar are one name on the file system.
    #[error(
        "`{path}` is another file's name too on this file system, which ignores case or how letters are composed; \
         keep the state root on one that does not"
    )]
    SameName {
        /// The later of the two.
        path: String,
    },
    /// A file's name would be read back as a whiteout.
    #[error("`{path}` cannot be in a layer: names that start with `.wh.` mean deletions")]
    WhiteoutName {
        /// The file.
        path: String,
    },
    /// A device would be taken for a whiteout by overlayfs.
    #[error("`{path}` cannot be in a layer: a character device 0:0 means a deletion")]
    WhiteoutDevice {
        /// The device.
        path: String,
    },
    /// A file was modified while it was read.
    #[error("`{path}` changed while it was read")]
    Changed {
        /// The file.
        path: String,
    },
    /// A copy would replace a directory by a file or the reverse.
    #[error("cannot copy {source_kind} `{from}` over {target_kind} `{to}`")]
    CopyConflict {
        /// What the source is.
        source_kind: &'static str,
        /// The source path.
        from: String,
        /// What is there.
        target_kind: &'static str,
        /// The destination path.
        to: String,
    },
    /// A user namespace has no such user or group.
    #[error(
        "the owner `{uid}:{gid}` does not exist for this user: numbers in `/etc/subuid` and `/etc/subgid`, and the programs \
         `newuidmap` and `newgidmap`, give it more than its own"
    )]
    NoOwner {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// A tree is nested deeper than is supported.
    #[error("`{path}` is nested deeper than {limit} directories")]
    TooDeep {
        /// Where it was noticed.
        path: String,
        /// The limit.
        limit: usize,
    },
}

impl Error {
    /// Wraps an I/O error with what was done to what.
    pub(crate) fn io(operation: &'static str, object: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let object = object.into();
        move |source| Self::Io { operation, object, source }
    }

    /// The error of giving something to `owner`.
    pub(crate) fn owner(error: kiln_sys::Error, owner: Owner) -> Self {
        match error.errno {
            Errno::INVAL if is_confined() => Self::NoOwner { uid: owner.uid, gid: owner.gid },
            _ => error.into(),
        }
    }

    /// Whether the error says that a key or name is taken.
    pub fn is_exists(&self) -> bool {
        matches!(self, Self::Exists(_))
    }

    /// Whether the error says that a key or name is unknown.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }
}

/// A path of arbitrary bytes, fit for a message.
pub(crate) fn show(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => path.escape_ascii().to_string(),
    }
}
