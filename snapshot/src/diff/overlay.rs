//! Changes from the upper directory of an overlay: what is there was written, nothing needs comparing.

use kiln_sys::fs::{FileType, Root};

use super::{Change, ChangeKind, Listing};
use crate::Result;
use crate::scan::{Found, Scan};

/// What an upper directory has over its lower ones.
///
/// A directory that overlayfs only copied up because something below it changed is in the list with its metadata,
/// as in other tools' layers. A character device 0:0 is a deletion; sockets are left out; files whose name would
/// be read back as a deletion are an error.
pub fn diff_upper(upper: &Root) -> Result<Vec<Change>> {
    let mut listing = Listing::default();
    for found in Scan::full(None).tree(upper)? {
        if is_whiteout(&found) {
            listing.list.push(Change { path: found.path, kind: ChangeKind::Removed });
        } else {
            listing.put(found)?;
        }
    }
    Ok(listing.list)
}

fn is_whiteout(found: &Found) -> bool {
    found.stat.file_type() == FileType::CharacterDevice && found.stat.rdev == (0, 0)
}
