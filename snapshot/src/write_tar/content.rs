//! The bytes of one change in a tar, with its file read and held against its metadata.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use kiln_sys::fs::{self, Root};
use sha2::{Digest as _, Sha256};

use super::header::{self, Header};
use super::{Content, Parts};
use crate::apply::{OPAQUE, WHITEOUT};
use crate::checksum::{Identity, Sum, unchanged};
use crate::error::show;
use crate::path::{as_path, joined, name_of, split};
use crate::recipe::Origin;
use crate::{Change, ChangeKind, Error, Metadata, Node, Result};

/// What of a file is read at once when it is too large to be held.
const PIECE: u64 = 256 << 10;

/// Turns changes into bytes; keeps the directory of the last file open.
pub(super) struct Renderer<'a> {
    parts: Parts<'a>,
    /// The tree it is in, its path there, and itself.
    directory: Option<(usize, Vec<u8>, OwnedFd)>,
}

/// The content of a file.
enum Bytes<'a> {
    Here(&'a [u8]),
    File(Source<'a>),
}

/// A file that is read.
struct Source<'a> {
    /// The number of its tree.
    tree: usize,
    root: &'a Root,
    path: Cow<'a, [u8]>,
    seen: Identity,
    expected: Option<&'a Sum>,
    /// A tar that has the same bytes, and where.
    packed: Option<(&'a File, u64)>,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(parts: Parts<'a>) -> Self {
        Self { parts, directory: None }
    }

    /// Appends the change number `index`; whenever there is a lot in `out`, it is handed to `flush`, which empties it.
    pub(super) fn change(
        &mut self,
        index: usize,
        out: &mut Vec<u8>,
        flush: &mut impl FnMut(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let change = &*self.parts.content.change(index);
        let ChangeKind::Put(metadata) = &change.kind else {
            whiteout(&hidden(&self.place(&change.path)), out);
            return Ok(());
        };
        self.header(&change.path, metadata, out);
        match &metadata.node {
            Node::File => self.content(self.bytes(index, change, metadata), metadata.stat.size, out, flush),
            Node::Directory { opaque: true } => {
                whiteout(&joined(&self.place(&change.path), OPAQUE), out);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn bytes<'b>(&self, index: usize, change: &'b Change, metadata: &'b Metadata) -> Bytes<'b>
    where
        'a: 'b,
    {
        let recipe = match self.parts.content {
            Content::Beneath(_, root) => {
                let (path, seen) = (Cow::Borrowed(&*change.path), Identity::of(&metadata.stat));
                return Bytes::File(Source { tree: 0, root, path, seen, expected: None, packed: None });
            }
            Content::Recipe(recipe) => recipe,
        };
        match &recipe.items[index].origin {
            Origin::Nowhere => Bytes::Here(&[]),
            Origin::Bytes(bytes) => Bytes::Here(bytes),
            Origin::File(file) => {
                let (tree, path) = file.place(&recipe.copied, &change.path);
                Bytes::File(Source {
                    tree,
                    root: &recipe.roots[tree],
                    path: Cow::Owned(path),
                    seen: file.seen,
                    expected: file.expected.as_ref(),
                    packed: recipe.packed.as_ref().zip(file.packed.map(NonZeroU64::get)),
                })
            }
        }
    }

    /// The path in the tar of a path beneath the root.
    fn place<'p>(&self, path: &'p [u8]) -> Cow<'p, [u8]>
    where
        'a: 'p,
    {
        match &self.parts.options.renamed {
            Some((old, new)) if path == old => Cow::Borrowed(new),
            Some((old, new)) => {
                let rest = path.strip_prefix(old.as_slice()).unwrap_or(path);
                Cow::Owned([new, &b"/"[..], rest.strip_prefix(b"/").unwrap_or(rest)].concat())
            }
            None if self.parts.options.folder.is_empty() => Cow::Borrowed(path),
            None => Cow::Owned(joined(&self.parts.options.folder, path)),
        }
    }

    fn header(&self, path: &[u8], metadata: &Metadata, out: &mut Vec<u8>) {
        let mut path = self.place(path);
        if matches!(metadata.node, Node::Directory { .. }) {
            path.to_mut().push(b'/');
        }
        let link = match &metadata.node {
            Node::HardLink(first) => self.place(first),
            Node::Symlink(text) => Cow::Borrowed(text.as_slice()),
            _ => Cow::Borrowed(&b""[..]),
        };
        header::append(&header(&path, &link, metadata, self.parts.options.clamp_mtime), out);
    }

    fn content(
        &mut self,
        bytes: Bytes<'_>,
        size: u64,
        out: &mut Vec<u8>,
        flush: &mut impl FnMut(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        match bytes {
            Bytes::Here(bytes) => out.extend_from_slice(bytes),
            Bytes::File(source) => self.read(source, out, flush)?,
        }
        header::append_padding(size, out);
        Ok(())
    }

    fn read(
        &mut self,
        source: Source<'_>,
        out: &mut Vec<u8>,
        flush: &mut impl FnMut(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        if read_packed(&source, out) {
            return if out.len() as u64 >= PIECE { flush(out) } else { Ok(()) };
        }
        let Source { ref path, seen, expected, .. } = source;
        let changed = || Error::Changed { path: show(path) };
        let mut hash = expected.map(|_| Sha256::new());
        let mut file = self.open(&source)?;
        if expected.is_none() {
            unchanged(&file, &seen, path)?;
        }
        let mut left = seen.size;
        while left > 0 {
            let (count, start) = (left.min(PIECE), out.len());
            out.reserve(count as usize + 1);
            let got = (&mut file).take(count).read_to_end(out).map_err(Error::io("read", show(path)))?;
            if (got as u64) < count {
                return Err(changed());
            }
            if let Some(hash) = &mut hash {
                hash.update(&out[start..]);
            }
            left -= count;
            if out.len() as u64 >= PIECE {
                flush(out)?;
            }
        }
        match (hash.map(|hash| Sum::from(hash.finalize())), expected) {
            (Some(found), Some(expected)) if found == *expected => Ok(()),
            (Some(_), _) => Err(changed()),
            // Nobody knows what it should be: it must not have changed meanwhile.
            (None, _) => unchanged(&file, &seen, path),
        }
    }

    fn open(&mut self, source: &Source<'_>) -> Result<File> {
        let &Source { tree, root, ref path, .. } = source;
        let parent = split(path).0;
        if self.directory.as_ref().is_none_or(|(of, open, _)| (*of, &**open) != (tree, parent)) {
            self.directory = Some((tree, parent.to_vec(), root.open_dir(as_path(parent))?));
        }
        let dir = self.directory.as_ref().map_or(root.as_fd(), |(_, _, dir)| dir.as_fd());
        match fs::open_file(dir, name_of(path)) {
            Err(error) if error.is_not_found() => Err(Error::Changed { path: show(path) }),
            other => Ok(other?),
        }
    }
}

/// Reads a small file from the tar that has it; false where that is not so, or its bytes are others.
fn read_packed(source: &Source<'_>, out: &mut Vec<u8>) -> bool {
    let (Some((tar, at)), Some(expected)) = (source.packed, source.expected) else { return false };
    let (start, size) = (out.len(), source.seen.size);
    if size > PIECE {
        return false;
    }
    out.resize(start + size as usize, 0);
    let is_it = tar.read_exact_at(&mut out[start..], at).is_ok()
        && Sum::from(Sha256::digest(&out[start..])) == *expected;
    if !is_it {
        out.truncate(start);
    }
    is_it
}

/// What the header of something says; the path of a directory ends with a slash.
pub(super) fn header<'h>(
    path: &'h [u8],
    link: &'h [u8],
    Metadata { node, stat, xattrs }: &'h Metadata,
    clamp: Option<i64>,
) -> Header<'h> {
    let is_device = matches!(node, Node::CharDevice | Node::BlockDevice);
    Header {
        path,
        link,
        kind: flag(node),
        mode: stat.permissions(),
        uid: stat.uid,
        gid: stat.gid,
        mtime: clamped(stat.mtime.seconds, clamp),
        size: if matches!(node, Node::File) { stat.size } else { 0 },
        device: if is_device { stat.rdev } else { (0, 0) },
        xattrs: if matches!(node, Node::HardLink(_)) { &[] } else { xattrs },
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
    bare(&[path, b"/"].concat(), b'5', 0o755, clamped(0, latest), 0, out);
}

/// A file that no tree has.
pub(super) fn file(path: &[u8], mode: u32, data: &[u8], out: &mut Vec<u8>) {
    bare(path, b'0', mode, 0, data.len() as u64, out);
    out.extend_from_slice(data);
    header::append_padding(data.len() as u64, out);
}

/// A deletion has no time of its own: always the same bytes.
fn whiteout(path: &[u8], out: &mut Vec<u8>) {
    bare(path, b'0', 0o600, 0, 0, out);
}

fn bare(path: &[u8], kind: u8, mode: u32, mtime: i64, size: u64, out: &mut Vec<u8>) {
    let header =
        Header { path, link: b"", kind, mode, uid: 0, gid: 0, mtime, size, device: (0, 0), xattrs: &[] };
    header::append(&header, out);
}
