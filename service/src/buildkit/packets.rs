//! Files in the words of `fsutil`, in which BuildKit's clients send and receive trees.

use std::collections::HashMap;

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use kiln_engine::build::{TreeEntry, TreeNode};

// Modes are Go's `fs.FileMode`.
const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SET_UID: u32 = 1 << 23;
const SET_GID: u32 = 1 << 22;
const CHAR_DEVICE: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;
const IRREGULAR: u32 = 1 << 19;
/// What makes a file something else than a regular one.
const TYPES: u32 = DIRECTORY | SYMLINK | DEVICE | FIFO | SOCKET | CHAR_DEVICE | IRREGULAR;
/// Each special bit with that of Unix.
const SPECIAL: [(u32, u32); 3] = [(SET_UID, 0o4000), (SET_GID, 0o2000), (STICKY, 0o1000)];

/// A packet of a kind with nothing in it.
pub(super) fn packet(kind: PacketType) -> Packet {
    Packet { r#type: kind.into(), ..Packet::default() }
}

/// Whether a file's content can be asked for; both sides number files by this rule.
pub(super) fn is_regular(mode: u32) -> bool {
    mode & TYPES == 0
}

/// A file that a client names.
pub(super) fn entry(stat: Stat) -> TreeEntry {
    let text = stat.linkname.into_bytes();
    let node = match stat.mode & TYPES {
        0 if !text.is_empty() => TreeNode::HardLink(text),
        0 => TreeNode::File(u64::try_from(stat.size).unwrap_or(0)),
        DIRECTORY => TreeNode::Directory,
        SYMLINK => TreeNode::Symlink(text),
        FIFO => TreeNode::Fifo,
        _ => TreeNode::Special,
    };
    let special = SPECIAL.iter().filter(|(go, _)| stat.mode & go != 0).map(|(_, unix)| unix).sum::<u32>();
    TreeEntry {
        path: stat.path.into_bytes(),
        node,
        mode: stat.mode & 0o777 | special,
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mod_time,
        xattrs: stat.xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect(),
    }
}

/// A file as a client is told it; `None` where its name is not text, which the protocol cannot say.
pub(super) fn stat(entry: &TreeEntry) -> Option<Stat> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let (kind, size, linkname) = match &entry.node {
        TreeNode::File(size) => (0, *size, String::new()),
        TreeNode::HardLink(of) => (0, 0, text(of)?),
        TreeNode::Directory => (DIRECTORY, 0, String::new()),
        TreeNode::Symlink(to) => (SYMLINK, to.len() as u64, text(to)?),
        TreeNode::Fifo => (FIFO, 0, String::new()),
        TreeNode::Special => (DEVICE, 0, String::new()),
    };
    let special = SPECIAL.iter().filter(|(_, unix)| entry.mode & unix != 0).map(|(go, _)| go).sum::<u32>();
    let xattrs = entry.xattrs.iter().filter_map(|(name, value)| Some((text(name)?, value.clone())));
    Some(Stat {
        path: text(&entry.path)?,
        mode: kind | special | entry.mode & 0o777,
        uid: entry.uid,
        gid: entry.gid,
        size: i64::try_from(size).unwrap_or(i64::MAX),
        mod_time: entry.mtime,
        linkname,
        xattrs: xattrs.collect::<HashMap<_, _>>(),
        ..Stat::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_the_same_after_both_ways() {
        let nodes = [
            TreeNode::File(7),
            TreeNode::Directory,
            TreeNode::Symlink(b"to".to_vec()),
            TreeNode::HardLink(b"of".to_vec()),
            TreeNode::Fifo,
            TreeNode::Special,
        ];
        for node in nodes {
            let path = b"a/b".to_vec();
            let xattrs = vec![(b"user.a".to_vec(), b"\xff".to_vec())];
            let one = TreeEntry { path, node, mode: 0o4751, uid: 1, gid: 2, mtime: -5, xattrs };
            let there = stat(&one).unwrap();
            let has_content = matches!(one.node, TreeNode::File(_) | TreeNode::HardLink(_));
            assert_eq!(is_regular(there.mode), has_content, "{:?}", one.node);
            assert_eq!(entry(there), one);
        }
        let odd = entry(Stat { mode: DEVICE | CHAR_DEVICE | 0o666, ..Stat::default() });
        assert_eq!(odd.node, TreeNode::Special);
    }
}
