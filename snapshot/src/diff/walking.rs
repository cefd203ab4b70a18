//! Changes from two whole trees: the reference, and the way of drivers that keep no record of writes.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::io::Read;
use std::os::fd::AsFd;

use kiln_sys::fs::{self, Root, Stat};

use super::{Change, ChangeKind, Listing};
use crate::error::show;
use crate::path::{as_path, components, split};
use crate::scan::{Found, Scan};
use crate::{Error, Result};

/// What `tree` has over `parent` (or over nothing), by comparing metadata and content.
///
/// As in an overlay's upper directory, the directories above every change are in the list too.
pub fn diff_trees(parent: Option<&Root>, tree: &Root) -> Result<Vec<Change>> {
    let new = Scan::full(None).tree(tree)?;
    let Some(parent) = parent else {
        let mut listing = Listing::default();
        new.into_iter().try_for_each(|found| listing.put(found))?;
        return Ok(listing.list);
    };
    let old = Scan::full(None).tree(parent)?;
    let steps = merge(old, new);
    let mut changed = HashSet::new();
    for step in &steps {
        if step.differs(parent, tree)? {
            let mut path = step.path();
            while changed.insert(path.to_vec()) && !path.is_empty() {
                path = split(path).0;
            }
        }
    }
    list(steps, &changed)
}

/// One path of either tree or both.
struct Step {
    old: Option<Found>,
    new: Option<Found>,
}

impl Step {
    fn path(&self) -> &[u8] {
        self.new.as_ref().or(self.old.as_ref()).map_or(b"", |found| &found.path)
    }

    fn differs(&self, parent: &Root, tree: &Root) -> Result<bool> {
        let (Some(old), Some(new)) = (&self.old, &self.new) else { return Ok(true) };
        if visible(&old.stat) != visible(&new.stat) || old.link != new.link || old.xattrs != new.xattrs {
            return Ok(true);
        }
        Ok(new.stat.is_file() && !same_content(parent, tree, &new.path)?)
    }
}

/// What of the metadata belongs to a layer. The size of a directory does not.
fn visible(stat: &Stat) -> impl PartialEq {
    let size = if stat.is_dir() { 0 } else { stat.size };
    (stat.mode, stat.uid, stat.gid, size, stat.rdev, stat.mtime)
}

fn same_content(parent: &Root, tree: &Root, path: &[u8]) -> Result<bool> {
    let (mut old, mut new) = (parent.open_file(as_path(path))?, tree.open_file(as_path(path))?);
    let (old_stat, new_stat) = (fs::fstat(old.as_fd())?, fs::fstat(new.as_fd())?);
    if (old_stat.dev, old_stat.ino) == (new_stat.dev, new_stat.ino) {
        return Ok(true);
    }
    let failed = |error| Error::io("read", show(path))(error);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    loop {
        a.clear();
        b.clear();
        (&mut old).take(1 << 20).read_to_end(&mut a).map_err(failed)?;
        (&mut new).take(1 << 20).read_to_end(&mut b).map_err(failed)?;
        if a != b || a.is_empty() {
            return Ok(a == b);
        }
    }
}

/// Both lists as one, in their common order.
fn merge(old: Vec<Found>, new: Vec<Found>) -> Vec<Step> {
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    let mut steps = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return steps,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => components(&a.path).cmp(components(&b.path)),
        };
        let old = if order.is_le() { old.next() } else { None };
        let new = if order.is_ge() { new.next() } else { None };
        steps.push(Step { old, new });
    }
}

/// The changes among the steps. What is beneath something that is gone, or is no directory any more, is gone with
/// it and not listed.
fn list(steps: Vec<Step>, changed: &HashSet<Vec<u8>>) -> Result<Vec<Change>> {
    let mut listing = Listing::default();
    let mut gone: Option<Vec<u8>> = None;
    for step in steps {
        if !changed.contains(step.path()) {
            continue;
        }
        match (step.old, step.new) {
            (old, Some(new)) => {
                if old.is_some_and(|old| old.stat.is_dir()) && !new.stat.is_dir() {
                    gone = Some(new.path.clone());
                }
                listing.put(new)?;
            }
            (Some(old), None) if gone.as_ref().is_some_and(|gone| is_beneath(&old.path, gone)) => {}
            (Some(old), None) => {
                gone = Some(old.path.clone());
                listing.list.push(Change { path: old.path, kind: ChangeKind::Removed });
            }
            (None, None) => {}
        }
    }
    Ok(listing.list)
}

fn is_beneath(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}
