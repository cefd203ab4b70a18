//! Files and trees from one root to another.

use std::path::Path;

use kiln_oci::digest::Digest;
use kiln_sys::fs::{Owner, Root};

use crate::Result;
pub use crate::filter::{Filter, Verdict};

/// Where the owner and mode of directories come from that must be made on the way to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parents {
    /// Their mode.
    pub mode: u32,
    /// Their owner.
    pub owner: Owner,
}

/// A function from a mode (permission bits) and whether it is a directory's to the mode of the copy.
pub type ModeChange<'a> = &'a (dyn Fn(u32, bool) -> u32 + Sync);

/// The content digest that a file must have, by its path relative to the copied one (empty for itself).
pub type Expected<'a> = &'a (dyn Fn(&[u8]) -> Option<Digest> + Sync);

/// How files are copied.
#[derive(Clone, Copy)]
pub struct CopyOptions<'a> {
    /// Owner of everything copied; the source's without it.
    pub owner: Option<Owner>,
    /// Changes modes; they are kept without it.
    pub mode: Option<ModeChange<'a>>,
    /// Which paths of a directory are copied; all without it.
    pub filter: Option<&'a dyn Filter>,
    /// Make missing directories above the destination.
    pub parents: Option<Parents>,
    /// Times of everything copied, in seconds; the source's without it.
    pub mtime: Option<i64>,
    /// Follow a symbolic link that the source path itself is, inside the source root.
    pub follow_source: bool,
    /// Give an existing destination directory the metadata of the copied one.
    pub merge_metadata: bool,
    /// Digests to verify while copying; a file that has another is an error that names it.
    pub expected: Option<Expected<'a>>,
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files, directories, links and so on.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
}

impl CopyOptions<'_> {
    /// Everything as it is, also what the destination directory is.
    pub fn exact() -> Self {
        Self {
            owner: None,
            mode: None,
            filter: None,
            parents: None,
            mtime: None,
            follow_source: false,
            merge_metadata: true,
            expected: None,
        }
    }
}

/// Copies `from` beneath `source` to `to` beneath `target`.
///
/// A directory's contents go into `to`, which is made if it is missing. Anything else becomes `to`, or goes into
/// it under its own name when `to` is a directory or ends in a slash. Links in the path of `to` are followed
/// inside `target`; links met while walking are copied as links. Hard links among the copied files stay links.
pub fn copy(
    _source: &Root,
    _from: &Path,
    _target: &Root,
    _to: &Path,
    _options: &CopyOptions<'_>,
) -> Result<Copied> {
    crate::diff::overlay::unfinished()
}
