//! Changes to a deterministic layer tar: the same changes are the same bytes, on any machine.
//!
//! Entries are in the order of the changes. Owners are numbers without names, times are whole seconds as in other
//! tools' layers (fractions are cut off), deletions have no time, and PAX records appear only where ustar cannot
//! say something. The tar ends with two zero blocks and no further padding.

mod content;
mod header;
mod places;

use std::borrow::Cow;
use std::io::Write;
use std::ops::Range;

use crossbeam_channel::{Receiver, Sender, bounded};
use kiln_sys::fs::Root;

use crate::error::show;
use crate::read_tar::BLOCK;
use crate::recipe::Recipe;
use crate::{Change, ChangeKind, Error, Node, Result};
use content::Renderer;

pub(crate) use places::{Place, places};

/// Threads that read files ahead of the writer.
const READERS: usize = 2;
/// Changes that one reader takes at once, and bytes after which a group ends earlier.
const GROUP: usize = 64;
const GROUP_BYTES: u64 = 256 << 10;
/// Pieces that a reader may be ahead.
const AHEAD: usize = 3;

/// How a layer tar is written.
#[derive(Clone, Debug, Default)]
pub struct TarOptions {
    /// No time in the tar is later than this (`SOURCE_DATE_EPOCH`), in seconds.
    pub clamp_mtime: Option<i64>,
    /// The folder of the tar that gets the files, without slashes at its ends; empty is the tar's root. A folder has an entry
    /// of its own.
    pub folder: Vec<u8>,
    /// Another name in the tar for the path that all changes have or begin with: the old one, which is empty for a tree whose own
    /// root is among them, and the new one, which may be empty too.
    pub renamed: Option<(Vec<u8>, Vec<u8>)>,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TarStats {
    /// Changes, without the extended headers that belong to them.
    pub entries: u64,
    /// Bytes of the tar.
    pub bytes: u64,
}

/// Writes `changes`, whose content is beneath `root`, as a layer tar.
///
/// A file that is not what the change says any more, or changes while it is read, is an error that names it. What
/// was written until then must be discarded.
pub fn write_tar(changes: &[Change], root: &Root, out: impl Write, options: &TarOptions) -> Result<TarStats> {
    let mut tar = TarWriter::new(out);
    tar.append(changes, root, options)?;
    tar.finish()
}

/// A tar in the making, of one tree or of several in folders of their own.
#[derive(Debug)]
pub struct TarWriter<W> {
    out: Counting<W>,
    entries: u64,
}

impl<W: Write> TarWriter<W> {
    /// A tar that is written to `out`.
    pub fn new(out: W) -> Self {
        TarWriter { out: Counting { inner: out, bytes: 0 }, entries: 0 }
    }

    /// Writes `changes`, whose content is beneath `root`; fails as [`write_tar()`].
    pub fn append(&mut self, changes: &[Change], root: &Root, options: &TarOptions) -> Result<()> {
        self.append_parts(Parts { content: Content::Beneath(changes, root), options })
    }

    /// Writes what a recipe describes; fails as [`write_tar()`].
    pub(crate) fn append_recipe(&mut self, recipe: &Recipe, options: &TarOptions) -> Result<()> {
        self.append_parts(Parts { content: Content::Recipe(recipe), options })
    }

    fn append_parts(&mut self, parts: Parts<'_>) -> Result<()> {
        if !parts.options.folder.is_empty() {
            let mut bytes = Vec::new();
            content::folder(&parts.options.folder, parts.options.clamp_mtime, &mut bytes);
            self.out.write(&mut bytes)?;
            self.entries += 1;
        }
        let count = parts.content.count();
        let groups = groups(parts.content);
        if groups.len() < 2 {
            let whole = 0..count;
            render(whole, &mut Renderer::new(parts), &mut Vec::new(), |bytes| self.out.write(bytes))?;
        } else {
            read_ahead(&groups, parts, &mut self.out)?;
        }
        self.entries += count as u64;
        Ok(())
    }

    /// Adds a file that no tree has: root's, of no time.
    pub fn file(&mut self, path: &[u8], mode: u32, data: &[u8]) -> Result<()> {
        let mut bytes = Vec::new();
        content::file(path, mode, data, &mut bytes);
        self.entries += 1;
        self.out.write(&mut bytes)
    }

    /// Ends the tar.
    pub fn finish(mut self) -> Result<TarStats> {
        self.out.write(&mut vec![0; 2 * BLOCK])?;
        self.out.inner.flush().map_err(failed)?;
        Ok(TarStats { entries: self.entries, bytes: self.out.bytes })
    }
}

/// What is written.
#[derive(Clone, Copy)]
struct Parts<'a> {
    content: Content<'a>,
    options: &'a TarOptions,
}

/// Changes, and where their content is.
#[derive(Clone, Copy)]
enum Content<'a> {
    /// Each file at its own path beneath a root.
    Beneath(&'a [Change], &'a Root),
    /// As a recipe says.
    Recipe(&'a Recipe),
}

impl<'a> Content<'a> {
    fn count(self) -> usize {
        match self {
            Content::Beneath(changes, _) => changes.len(),
            Content::Recipe(recipe) => recipe.items.len(),
        }
    }

    fn change(self, index: usize) -> Cow<'a, Change> {
        match self {
            Content::Beneath(changes, _) => Cow::Borrowed(&changes[index]),
            Content::Recipe(recipe) => Cow::Owned(recipe.items[index].change()),
        }
    }

    /// The bytes of the file number `index`; of others about what their entries take.
    fn size(self, index: usize) -> u64 {
        match self {
            Content::Recipe(recipe) => recipe.items[index].size,
            Content::Beneath(changes, _) => match &changes[index].kind {
                ChangeKind::Put(metadata) if metadata.node == Node::File => metadata.stat.size,
                _ => 0,
            },
        }
    }
}

/// A piece of the tar; the last one of a group ends it.
enum Piece {
    Bytes(Vec<u8>),
    End(Result<()>),
}

/// Reader `n` renders every group whose number is `n` modulo the readers; the pieces are written in order.
fn read_ahead(groups: &[Range<usize>], parts: Parts<'_>, out: &mut Counting<impl Write>) -> Result<()> {
    std::thread::scope(|scope| {
        let mut ends = Vec::new();
        for reader in 0..READERS {
            let (send, receive) = bounded(AHEAD);
            // As many as are on their way or in somebody's hands.
            let (give_back, empty) = bounded(AHEAD + 2);
            let mine = groups.iter().skip(reader).step_by(READERS);
            scope.spawn(move || read(mine.cloned(), Renderer::new(parts), &send, &empty));
            ends.push((receive, give_back));
        }
        (0..groups.len()).try_for_each(|group| drain(&ends[group % READERS], out))
        // Leaving drops the receivers, and a reader that finds nobody listening stops.
    })
}

/// Buffers that come back in `empty` are used again: new memory costs more than what is read into it.
fn read(
    groups: impl Iterator<Item = Range<usize>>,
    mut renderer: Renderer<'_>,
    send: &Sender<Piece>,
    empty: &Receiver<Vec<u8>>,
) {
    let mut bytes = Vec::new();
    for group in groups {
        let result = render(group, &mut renderer, &mut bytes, |bytes| {
            let piece = std::mem::replace(bytes, empty.try_recv().unwrap_or_default());
            send.send(Piece::Bytes(piece)).map_err(|_| Error::Changed { path: show(b"") })
        });
        let failed = result.is_err();
        if send.send(Piece::End(result)).is_err() || failed {
            return;
        }
    }
}

fn drain(
    (pieces, give_back): &(Receiver<Piece>, Sender<Vec<u8>>),
    out: &mut Counting<impl Write>,
) -> Result<()> {
    loop {
        match pieces.recv() {
            Ok(Piece::Bytes(mut bytes)) => {
                out.write(&mut bytes)?;
                // One too many is freed.
                let _ = give_back.try_send(bytes);
            }
            Ok(Piece::End(result)) => return result,
            Err(_) => {
                return Err(failed(std::io::Error::other("a reader of the tree stopped")));
            }
        }
    }
}

fn render(
    group: Range<usize>,
    renderer: &mut Renderer<'_>,
    bytes: &mut Vec<u8>,
    mut flush: impl FnMut(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    for index in group {
        renderer.change(index, bytes, &mut flush)?;
    }
    flush(bytes)
}

/// Cuts the changes into groups of about the same work.
fn groups(content: Content<'_>) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for at in 0..content.count() {
        bytes += content.size(at);
        if at + 1 - start >= GROUP || bytes >= GROUP_BYTES {
            groups.push(start..at + 1);
            (start, bytes) = (at + 1, 0);
        }
    }
    if start < content.count() {
        groups.push(start..content.count());
    }
    groups
}

#[derive(Debug)]
struct Counting<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Counting<W> {
    /// Writes all bytes and empties the buffer.
    fn write(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        self.inner.write_all(bytes).map_err(failed)?;
        self.bytes += bytes.len() as u64;
        bytes.clear();
        Ok(())
    }
}

fn failed(source: std::io::Error) -> Error {
    Error::io("write", "the layer tar")(source)
}
