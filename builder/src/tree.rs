//! The files of a directory as values, for those who take them from here or bring them from elsewhere.

use std::io::{self, Read};

use kiln_sys::fs::Time;

/// One file of a tree, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Relative, components with `/` between them.
    pub path: Vec<u8>,
    /// What it is.
    pub node: TreeNode,
    /// Permissions with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// The user it belongs to.
    pub uid: u32,
    /// The group it belongs to.
    pub gid: u32,
    /// When its content last changed, in nanoseconds since 1970.
    pub mtime: i64,
    /// Extended attributes by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a file of a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeNode {
    /// A regular file of so many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link and its text.
    Symlink(Vec<u8>),
    /// Another name of an earlier file.
    HardLink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A device or a socket, which nobody takes over.
    Special,
}

/// A tree that can be read.
pub trait Tree: Sync {
    /// Its files, in the order of [`compare`].
    fn entries(&self) -> &[TreeEntry];

    /// The content of the file number `index`.
    fn open(&self, index: usize) -> io::Result<Box<dyn Read + Send + '_>>;
}

/// Who takes the files of a result.
pub trait TakeTree: Send + Sync {
    /// Takes them all. Blocking.
    fn take(self: Box<Self>, tree: &dyn Tree) -> io::Result<()>;
}

/// The order in which a walk meets paths: what is in a directory directly behind it.
pub fn compare(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.split(|byte| *byte == b'/').cmp(b.split(|byte| *byte == b'/'))
}

/// A file's time as an entry has it, in nanoseconds since 1970.
pub fn nanoseconds(time: Time) -> i64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(time.nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_directory_comes_directly_behind_it() {
        let mut paths = [&b"a.b"[..], b"a/z", b"b", b"a", b"a-b", b"a/b/c", b"a/b"];
        paths.sort_by(|a, b| compare(a, b));
        assert_eq!(paths, [&b"a"[..], b"a/b", b"a/b/c", b"a/z", b"a-b", b"a.b", b"b"]);
    }
}
