//! What a scan found, packed by directories: there is a lot of it, and often nobody wants it in one list.

use kiln_sys::fs::{Stat, Time};
use rayon::prelude::*;

use super::stamping::Stamping;
use super::{Details, Found, TASK};
use crate::Result;
use crate::checksum::Sum;
use crate::path::{join, joined};

/// The names in one directory, sorted.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Its own path.
    path: Vec<u8>,
    /// All names, one after the other.
    names: Vec<u8>,
    slots: Vec<Slot>,
    stamp: Option<(Sum, Time)>,
    /// SHA-256 of each slot's bytes or, of a link, its text, if that was read.
    contents: Vec<Option<Sum>>,
    /// SHA-256 of all that counts of each slot, until they are in the digest of everything.
    sums: Vec<Sum>,
}

/// What has a name.
#[derive(Debug)]
struct Slot {
    /// Where its name begins and ends in the directory's names.
    name: (u32, u32),
    stat: Stat,
    /// Few have any.
    details: Option<Box<Details>>,
    /// Whether it counts.
    counts: bool,
}

/// What reading something gives: what only it says of itself, its content, and all that counts of it.
pub(crate) type Read = (Details, Option<Sum>, Sum);

/// The directories of each level of a tree, in the order of those above them.
#[derive(Debug)]
pub(crate) struct Levels(Vec<Vec<Directory>>);

/// Something in a tree.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    directory: &'a Directory,
    slot: usize,
}

impl Directory {
    /// One without names, and with room for `count`.
    pub(super) fn new(path: &[u8], count: usize) -> Directory {
        let slots = Vec::with_capacity(count);
        Directory {
            path: path.to_vec(),
            names: Vec::new(),
            slots,
            stamp: None,
            contents: Vec::new(),
            sums: Vec::new(),
        }
    }

    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Whether it has what a scan of one name began with.
    pub(crate) fn is_top(&self) -> bool {
        self.path.is_empty() && matches!(&*self.slots, [slot] if slot.name == (0, 0))
    }

    /// Adds a name, which comes after those that are there.
    pub(super) fn push(&mut self, name: &[u8], stat: Stat, details: Details, counts: bool) {
        let start = self.names.len() as u32;
        self.names.extend_from_slice(name);
        let name = (start, self.names.len() as u32);
        self.slots.push(Slot { name, stat, details: details.packed(), counts });
    }

    /// Adds the names of another part of the same directory.
    pub(super) fn append(&mut self, part: Directory) {
        let start = self.names.len() as u32;
        self.names.extend_from_slice(&part.names);
        let moved = part.slots.into_iter().map(|mut slot| {
            slot.name = (slot.name.0 + start, slot.name.1 + start);
            slot
        });
        self.slots.extend(moved);
    }

    /// Sums up what is in it.
    pub(super) fn stamp(&mut self) {
        let mut stamping = Stamping::new();
        for slot in &self.slots {
            stamping.add(named(&self.names, slot), &slot.stat, slot.counts);
        }
        self.stamp = Some(stamping.finish());
    }

    /// Reads what counts: `read` gets its name and metadata.
    pub(crate) fn read(&mut self, read: impl Fn(&[u8], &Stat) -> Result<Read> + Sync) -> Result<()> {
        let names = &self.names;
        let one = |slot: &mut Slot| {
            if !slot.counts {
                return Ok((None, Sum::default()));
            }
            let (details, content, sum) = read(named(names, slot), &slot.stat)?;
            slot.details = details.packed();
            Ok((content, sum))
        };
        let read: Vec<_> = match self.slots.len() {
            0..=TASK => self.slots.iter_mut().map(one).collect::<Result<_>>()?,
            _ => self.slots.par_iter_mut().with_min_len(TASK).map(one).collect::<Result<_>>()?,
        };
        (self.contents, self.sums) = read.into_iter().unzip();
        Ok(())
    }

    fn directories(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.stat.is_dir())
    }
}

fn named<'a>(names: &'a [u8], slot: &Slot) -> &'a [u8] {
    &names[slot.name.0 as usize..slot.name.1 as usize]
}

impl Levels {
    pub(super) fn new(top: Directory) -> Levels {
        Levels(vec![vec![top]])
    }

    pub(super) fn push(&mut self, level: Vec<Directory>) {
        self.0.push(level);
    }

    /// How many levels there are.
    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    /// The paths of the directories that the last level has.
    pub(super) fn below(&self) -> Vec<Vec<u8>> {
        let last = self.0.last().into_iter().flatten();
        last.flat_map(|dir| dir.directories().map(|slot| joined(&dir.path, named(&dir.names, slot))))
            .collect()
    }

    /// A directory of which something counts counts itself.
    pub(super) fn settle(&mut self) {
        for level in (1..self.0.len()).rev() {
            let (above, below) = self.0.split_at_mut(level);
            let directories = above[level - 1].iter_mut().flat_map(|dir| &mut dir.slots);
            for (slot, inner) in directories.filter(|slot| slot.stat.is_dir()).zip(&below[0]) {
                slot.counts |= inner.slots.iter().any(|slot| slot.counts);
            }
        }
    }

    /// Adds all of it in short, where the scan summed it up.
    pub(crate) fn stamp(&self, stamping: &mut Stamping) {
        for directory in self.0.iter().flatten() {
            if let Some((sum, newest)) = &directory.stamp {
                stamping.add_sum(&directory.path, sum, *newest);
            }
        }
    }

    /// Forgets what is in the digest of everything.
    pub(crate) fn forget_sums(&mut self) {
        self.0.iter_mut().flatten().for_each(|directory| directory.sums = Vec::new());
    }

    /// All directories, in no order.
    pub(crate) fn directories_mut(&mut self) -> Vec<&mut Directory> {
        self.0.iter_mut().flatten().collect()
    }

    /// What counts: what is in a directory directly after it, in the order of its names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = At<'_>> {
        let mut levels: Vec<_> = self.0.iter().map(|level| level.iter()).collect();
        // The directories that the walk is in, and the next name of each. Those in one are the next of the level below.
        let mut within: Vec<(&Directory, usize)> = levels[0].next().map(|top| (top, 0)).into_iter().collect();
        std::iter::from_fn(move || {
            loop {
                let depth = within.len();
                let (directory, next) = within.last_mut()?;
                let at = At { directory, slot: *next };
                let Some(slot) = directory.slots.get(*next) else {
                    within.pop();
                    continue;
                };
                *next += 1;
                if slot.stat.is_dir() {
                    // Also one of which nothing counts: its directories are among those of the levels below.
                    within.extend(levels.get_mut(depth).and_then(Iterator::next).map(|inner| (inner, 0)));
                }
                if slot.counts {
                    return Some(at);
                }
            }
        })
    }

    /// The same as a list.
    pub(super) fn list(&self) -> Vec<Found> {
        self.iter()
            .map(|at| Found::new(at.path(), *at.stat(), at.details().cloned().unwrap_or_default()))
            .collect()
    }
}

impl<'a> At<'a> {
    /// Relative to where the scan began.
    pub(crate) fn path(&self) -> Vec<u8> {
        joined(&self.directory.path, named(&self.directory.names, self.at()))
    }

    /// Puts its path in the place of `path`.
    pub(crate) fn path_into(&self, path: &mut Vec<u8>) {
        path.clear();
        path.extend_from_slice(&self.directory.path);
        join(path, named(&self.directory.names, self.at()));
    }

    pub(crate) fn stat(&self) -> &'a Stat {
        &self.at().stat
    }

    pub(crate) fn details(&self) -> Option<&'a Details> {
        self.at().details.as_deref()
    }

    /// SHA-256 of its bytes or, of a link, its text, if that was read.
    pub(crate) fn content(&self) -> Option<&'a Sum> {
        self.directory.contents.get(self.slot)?.as_ref()
    }

    /// SHA-256 of all that counts of it, if it was read just now.
    pub(crate) fn sum(&self) -> Option<&'a Sum> {
        self.directory.sums.get(self.slot)
    }

    fn at(&self) -> &'a Slot {
        &self.directory.slots[self.slot]
    }
}
