//! Changes to a deterministic layer tar.

use std::io::Write;

use kiln_sys::fs::Root;

use crate::{Change, Result};

/// How a layer tar is written.
#[derive(Clone, Debug, Default)]
pub struct TarOptions {
    /// No time in the tar is later than this (`SOURCE_DATE_EPOCH`), in seconds.
    pub clamp_mtime: Option<i64>,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TarStats {
    /// Entries, without the extended headers that belong to them.
    pub entries: u64,
    /// Bytes of the tar.
    pub bytes: u64,
}

/// Writes `changes`, whose content is beneath `root`, as a layer tar.
pub fn write_tar(
    _changes: &[Change],
    _root: &Root,
    _out: impl Write,
    _options: &TarOptions,
) -> Result<TarStats> {
    crate::diff::overlay::unfinished()
}
