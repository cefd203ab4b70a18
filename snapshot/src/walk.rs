//! Walking a path inside a filesystem, one name at a time: links on the way and at its end are followed, and none leads out.
//!
//! The path that was really walked is the *canonical* one.

use kiln_sys::Errno;

use crate::error::show;
use crate::path::{components, join, split};
use crate::{Node, Result};

/// The most symbolic links one path may go through, as in the kernel.
const MAX_LINKS: usize = 40;

/// What has a canonical path.
pub(crate) enum Seen {
    Nothing,
    Directory,
    /// A symbolic link, with its target.
    Link(Vec<u8>),
    Other,
}

impl From<Node> for Seen {
    fn from(node: Node) -> Self {
        match node {
            Node::Directory { .. } => Seen::Directory,
            Node::Symlink(target) => Seen::Link(target),
            _ => Seen::Other,
        }
    }
}

/// Where a walk ended; paths are canonical.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At a directory.
    Directory(Vec<u8>),
    /// Where nothing is; whether that is what the walk was to find, and not a directory on the way.
    Missing(Vec<u8>, bool),
    /// At something that is neither directory nor link; whether that is what the walk was to find.
    Obstacle(Vec<u8>, bool),
}

/// Walks to what `path` names; `look` says what has a canonical path whose parent is a directory.
pub(crate) fn walk(path: &[u8], mut look: impl FnMut(&[u8]) -> Result<Seen>) -> Result<Place> {
    let mut here = Vec::new();
    let mut rest: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == b".." {
            here.truncate(split(&here).0.len());
            continue;
        }
        let parent = here.len();
        join(&mut here, &name);
        match look(&here)? {
            Seen::Directory => {}
            Seen::Nothing => return Ok(Place::Missing(here, rest.is_empty())),
            Seen::Other => return Ok(Place::Obstacle(here, rest.is_empty())),
            Seen::Link(target) => {
                links += 1;
                if links > MAX_LINKS {
                    let subject = format!("`{}`", show(path));
                    return Err(kiln_sys::Error::new("openat", subject, Errno::LOOP).into());
                }
                here.truncate(if target.first() == Some(&b'/') { 0 } else { parent });
                rest.extend(components(&target).rev().map(<[u8]>::to_vec));
            }
        }
    }
    Ok(Place::Directory(here))
}
