//! Changes from the upper directory of an overlay.

use kiln_sys::fs::Root;

use crate::{Change, Result};

/// What an upper directory has over its lower ones.
pub fn diff_upper(_upper: &Root) -> Result<Vec<Change>> {
    unfinished()
}

pub(crate) fn unfinished<T>() -> Result<T> {
    Err(crate::Error::Meta("not there yet".into()))
}
