//! The crate's one error type: an operation, its object and the cause.

use std::io;
use std::path::{Path, PathBuf};

use kiln_oci::{DiffId, Digest};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on a file of the store failed.
    #[error("{operation} `{}`: {source}", path.display())]
    Io {
        /// What was being done, as in "create".
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The database refused a statement.
    #[error("{operation}: the database says: {source}")]
    Database {
        /// What was being done, as in "save image".
        operation: &'static str,
        /// The cause.
        source: rusqlite::Error,
    },
    /// The store was written by a newer kiln.
    #[error("`{}` has schema version {found}, and this kiln knows versions up to {known}", path.display())]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// Bytes were promised under one digest and have another.
    #[error("content has digest `{found}`, expected `{expected}`")]
    WrongDigest {
        /// What was promised.
        expected: Digest,
        /// What arrived.
        found: Digest,
    },
    /// Bytes were promised with one length and have another.
    #[error("content `{digest}` has {found} bytes, expected {expected}")]
    WrongSize {
        /// The blob.
        digest: Digest,
        /// Promised length.
        expected: u64,
        /// Length so far; counting stops once it is too long.
        found: u64,
    },
    /// A layer's uncompressed bytes are not what the image config says.
    #[error("layer `{blob}` unpacks to diff ID `{found}`, but the image config says `{expected}`")]
    WrongDiffId {
        /// The blob, or the layer that was packed again.
        blob: String,
        /// From the config.
        expected: DiffId,
        /// Computed here.
        found: DiffId,
    },
    /// A blob, image, layer or document is not in the store.
    #[error("{kind} `{name}` is not in the store")]
    NotFound {
        /// What kind of thing, as in "blob".
        kind: &'static str,
        /// Its digest, name or id.
        name: String,
    },
    /// A name is taken, or an exclusive resource is held by somebody else.
    #[error("{kind} `{name}` is already in use")]
    InUse {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A short id fits several things.
    #[error("`{prefix}` fits several: {}", matches.join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// The first few that it fits.
        matches: Vec<String>,
    },
    /// A stored document cannot be read.
    #[error("{kind} `{name}` is malformed: {source}")]
    Malformed {
        /// What kind of document.
        kind: &'static str,
        /// Its name or digest.
        name: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// The snapshotter failed.
    #[error("{operation} `{object}`: {source}")]
    Snapshot {
        /// What was being done, as in "unpack layer".
        operation: &'static str,
        /// The key, name or layer.
        object: String,
        /// The cause.
        source: kiln_snapshot::Error,
    },
    /// A stream that was handed in could not be read, or its bytes are not a layer.
    #[error("{operation} `{object}`: {source}")]
    Stream {
        /// What was being done, as in "read layer".
        operation: &'static str,
        /// The blob or layer.
        object: String,
        /// The cause.
        source: io::Error,
    },
    /// The caller asked to stop while waiting.
    #[error("waiting for {what} was cancelled")]
    Cancelled {
        /// What was waited for.
        what: String,
    },
}

impl Error {
    /// Whether the thing asked for is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NotFound { .. })
    }

    /// Whether a name or resource is taken.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Error::InUse { .. })
    }

    /// What the user can do next, where we know.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::NewerSchema { .. } => Some("use the newer kiln, or another `--root`"),
            Error::WrongDiffId { .. } => {
                Some("the image is damaged or lies about its layers; pull it from a source you trust")
            }
            _ => None,
        }
    }

    pub(crate) fn not_found(kind: &'static str, name: impl ToString) -> Self {
        Error::NotFound { kind, name: name.to_string() }
    }

    /// Names the operation of a database error that does not have one yet.
    pub(crate) fn during(self, named: &'static str) -> Self {
        match self {
            Error::Database { operation: "", source } => Error::Database { operation: named, source },
            other => other,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        Error::Database { operation: "", source }
    }
}

/// Adds operation and path to an [`io::Error`].
pub(crate) trait IoContext<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { operation, path: path.to_owned(), source })
    }
}
