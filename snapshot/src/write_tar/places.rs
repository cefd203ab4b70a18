//! Where in a tar that was written here each file's bytes are, told by its table of contents alone.

use super::content::header;
use super::header::length;
use crate::checksum::Sum;
use crate::contents::Listed;
use crate::read_tar::BLOCK;
use crate::{ChangeKind, Metadata, Node};

/// A file of a tar.
pub(crate) struct Place<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) sum: &'a Sum,
    pub(crate) size: u64,
    /// Where its bytes begin.
    pub(crate) at: u64,
}

/// The files with known bytes in a tar of `size` bytes that a recipe with these contents was written to, in its order; `None` if
/// it cannot be that tar.
pub(crate) fn places(contents: &[Listed], size: u64) -> Option<Vec<Place<'_>>> {
    let (mut places, mut at) = (Vec::with_capacity(contents.len()), 0_u64);
    let (mut path, mut scratch) = (Vec::new(), Vec::new());
    for (change, sum) in contents {
        // Recipes delete nothing.
        let ChangeKind::Put(metadata) = &change.kind else { return None };
        let Metadata { node, stat, .. } = &**metadata;
        path.clone_from(&change.path);
        let link: &[u8] = match node {
            Node::Directory { opaque: true } => return None,
            Node::Directory { opaque: false } => {
                path.push(b'/');
                b""
            }
            Node::HardLink(text) | Node::Symlink(text) => text,
            _ => b"",
        };
        at = length(&header(&path, link, metadata, None), &mut scratch).checked_add(at)?;
        if *node == Node::File {
            places.extend(sum.as_ref().map(|sum| Place { path: &change.path, sum, size: stat.size, at }));
            // A table of contents may say anything, also of a sparse file in a layer of others.
            at = stat.size.checked_next_multiple_of(BLOCK as u64)?.checked_add(at)?;
        }
    }
    (at.checked_add(2 * BLOCK as u64)? == size).then_some(places)
}
