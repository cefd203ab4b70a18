//! Changes from two whole trees.

use kiln_sys::fs::Root;

use crate::{Change, Result};

/// What `tree` has over `parent`, by comparing both.
pub fn diff_trees(_parent: Option<&Root>, _tree: &Root) -> Result<Vec<Change>> {
    super::overlay::unfinished()
}
