//! The bytes of one change in a tar, with its file read and held against its metadata.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use kiln_sys::fs::{self, Root, Stat};

use super::TarOptions;
use super::header::{self, Header};
use crate::apply::{OPAQUE, WHITEOUT};
use crate::checksum::unchanged;
use crate::error::show;
use crate::path::{as_path, joined, name_of, split};
use crate::{Change, ChangeKind, Error, Metadata, Node, Result};

/// What of a file is read at once when it is too large to be held.
const PIECE: u64 = 1 << 20;

/// Turns changes into bytes; keeps the directory of the last file open.
pub(super) struct Renderer<'a> {
    root: &'a Root,
    options: &'a TarOptions,
    directory: Option<(Vec<u8>, OwnedFd)>,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(root: &'a Root, options: &'a TarOptions) -> Self {
        Self { root, options, directory: None }
    }

    /// Appends a change; whenever there is a lot in `out`, it is handed to `flush`, which empties it.
    pub(super) fn change(
        &mut self,
        change: &Change,
        out: &mut Vec<u8>,
        flush: &mut impl FnMut(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let ChangeKind::Put(metadata) = &change.kind else {
            whiteout(&hidden(&self.place(&change.path)), out);
            return Ok(());
        };
        self.header(&change.path, metadata, out);
        match &metadata.node {
            Node::File => self.content(&change.path, &metadata.stat, out, flush),
            Node::Directory { opaque: true } => {
                whiteout(&joined(&self.place(&change.path), OPAQUE), out);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The path in the tar of a path beneath the root.
    fn place<'p>(&self, path: &'p [u8]) -> Cow<'p, [u8]> {
        match self.options.folder.is_empty() {
            true => Cow::Borrowed(path),
            false => Cow::Owned(joined(&self.options.folder, path)),
        }
    }

    fn header(&self, path: &[u8], metadata: &Metadata, out: &mut Vec<u8>) {
        let Metadata { node, stat, xattrs } = metadata;
        let is_device = matches!(node, Node::CharDevice | Node::BlockDevice);
        let mut path = self.place(path);
        if matches!(node, Node::Directory { .. }) {
            path.to_mut().push(b'/');
        }
        let link = match node {
            Node::HardLink(first) => self.place(first),
            Node::Symlink(text) => Cow::Borrowed(text.as_slice()),
            _ => Cow::Borrowed(&b""[..]),
        };
        let header = Header {
            path: &path,
            link: &link,
            kind: flag(node),
            mode: stat.permissions(),
            uid: stat.uid,
            gid: stat.gid,
            mtime: clamped(stat.mtime.seconds, self.options.clamp_mtime),
            size: if matches!(node, Node::File) { stat.size } else { 0 },
            device: if is_device { stat.rdev } else { (0, 0) },
            xattrs: if matches!(node, Node::HardLink(_)) { &[] } else { xattrs },
        };
        header::append(&header, out);
    }

    fn content(
        &mut self,
        path: &[u8],
        expected: &Stat,
        out: &mut Vec<u8>,
        flush: &mut impl FnMut(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let mut file = self.open(path)?;
        unchanged(&file, expected, path)?;
        let mut left = expected.size;
        while left > 0 {
            let count = left.min(PIECE);
            out.reserve(count as usize + 1);
            let got = (&mut file).take(count).read_to_end(out).map_err(Error::io("read", show(path)))?;
            if (got as u64) < count {
                return Err(Error::Changed { path: show(path) });
            }
            left -= count;
            if out.len() as u64 >= PIECE {
                flush(out)?;
            }
        }
        unchanged(&file, expected, path)?;
        header::append_padding(expected.size, out);
        Ok(())
    }

    fn open(&mut self, path: &[u8]) -> Result<File> {
        let parent = split(path).0;
        if self.directory.as_ref().is_none_or(|(open, _)| open != parent) {
            self.directory = Some((parent.to_vec(), self.root.open_dir(as_path(parent))?));
        }
        let dir = self.directory.as_ref().map_or(self.root.as_fd(), |(_, dir)| dir.as_fd());
        match fs::open_file(dir, name_of(path)) {
            Err(error) if error.is_not_found() => Err(Error::Changed { path: show(path) }),
            other => Ok(other?),
        }
    }
}

fn flag(node: &Node) -> u8 {
    match node {
        Node::File => b'0',
        Node::HardLink(_) => b'1',
        Node::Symlink(_) => b'2',
        Node::CharDevice => b'3',
        Node::BlockDevice => b'4',
        Node::Directory { .. } => b'5',
        Node::Fifo => b'6',
    }
}

/// `a/b` as `a/.wh.b`
fn hidden(path: &[u8]) -> Vec<u8> {
    let (parent, name) = split(path);
    joined(parent, &[WHITEOUT, name].concat())
}

fn clamped(seconds: i64, latest: Option<i64>) -> i64 {
    latest.map_or(seconds, |latest| seconds.min(latest))
}

/// The entry of a folder that no tree has: root's, of no time.
pub(super) fn folder(path: &[u8], latest: Option<i64>, out: &mut Vec<u8>) {
    bare(&[path, b"/"].concat(), b'5', 0o755, clamped(0, latest), out);
}

/// A deletion has no time of its own: always the same bytes.
fn whiteout(path: &[u8], out: &mut Vec<u8>) {
    bare(path, b'0', 0o600, 0, out);
}

fn bare(path: &[u8], kind: u8, mode: u32, mtime: i64, out: &mut Vec<u8>) {
    let header =
        Header { path, link: b"", kind, mode, uid: 0, gid: 0, mtime, size: 0, device: (0, 0), xattrs: &[] };
    header::append(&header, out);
}
