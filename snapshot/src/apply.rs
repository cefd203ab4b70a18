//! A layer tar to a directory.

use std::io::Read;

use kiln_sys::fs::Root;

use crate::Result;

/// How a layer is unpacked.
#[derive(Clone, Debug)]
pub struct ApplyOptions {
    /// Nothing is beneath the root yet: whiteouts have nothing to delete, and no file is in the way.
    pub fresh: bool,
    /// Threads that write files while the tar is read; 0 writes them in the calling thread.
    pub writers: usize,
    /// Make device nodes; without privileges they can only be left out.
    pub devices: bool,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self { fresh: false, writers: 2, devices: true }
    }
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries of the tar, whiteouts included.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
}

/// Unpacks the layer `tar` beneath `root` and reads it to its end.
pub fn apply(_tar: impl Read, _root: &Root, _options: &ApplyOptions) -> Result<Applied> {
    crate::diff::overlay::unfinished()
}
