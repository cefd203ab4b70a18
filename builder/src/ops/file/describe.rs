//! File actions as a recipe: the outcome of performing them, without copying a file.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use kiln_cache::{Known, Store};
use kiln_graph::{ActionInput, CopyAction, FileAction, FileOp, Owner, Principal};
use kiln_snapshot::recipe::{Draft, Recipe, Shape, Taken};
use kiln_sys::fs::{self, Root, Stat};

use super::{Opened, archive, copy, owner};
use crate::error::Cause;
use crate::mounts::relative;
use crate::select::{self, Found, Source};
use crate::value::{Layers, Value};
use crate::workspace::View;

/// What the copies of an op take, by the number of the action, where it was listed already.
pub(super) type Listings = HashMap<usize, Vec<Found>>;

/// The least bytes of holes that make a file one with holes.
const MIN_HOLES: u64 = 1 << 20;
/// The files that names of owners are looked up in.
const ACCOUNTS: [&[u8]; 2] = [b"etc/passwd", b"etc/group"];

/// Whether actions of these kinds can be described; archives among the files of a copy may still say otherwise.
pub(super) fn is_describable(op: &FileOp) -> bool {
    op.actions.iter().all(|action| match action {
        FileAction::Copy(copy) => matches!(copy.source, ActionInput::Input(_)),
        FileAction::Mkfile { .. } | FileAction::Mkdir { .. } => true,
        FileAction::Rm { .. } | FileAction::Symlink { .. } => false,
    })
}

/// A filesystem as it is known without unpacking more of it.
pub(super) struct Base {
    shape: Shape,
    /// What of it is a snapshot.
    view: Option<(View, Root)>,
}

impl Base {
    /// `layers`, of which that is `known`.
    pub(super) fn of(store: &Arc<Store>, layers: &Layers, known: Known) -> Result<Base, Cause> {
        let view = match known.unpacked {
            0 => None,
            count => {
                let view = View::of(store, &layers.below(count))?;
                let root = view.root()?;
                Some((view, root))
            }
        };
        let mut shape = Shape::of(view.as_ref().map(|(_, root)| root))?;
        known.above.into_iter().for_each(|layer| shape.push(layer.into_iter().map(|(change, _)| change)));
        Ok(Base { shape, view })
    }
}

/// Describes what the actions of `op` do to `base`; `None` if that takes files: to unpack an archive, or to look up an owner.
/// What is copied from is added to `opened` and must stay open until the recipe is written.
pub(super) fn describe<'a>(
    store: &Arc<Store>,
    op: &FileOp,
    base: Base,
    inputs: &'a [Value],
    listings: &Listings,
    opened: &mut Vec<Opened<'a>>,
) -> Result<Option<Recipe>, Cause> {
    let Base { shape, view } = base;
    let mut drafting = Drafting { accounts: view.as_ref().map(|(_, root)| root), draft: Draft::on(shape) };
    for (number, action) in op.actions.iter().enumerate() {
        let done = match action {
            FileAction::Copy(copy) => {
                let source = Opened::new(store, copied_input(copy, inputs)?)?;
                let done = drafting.copy(source.source(), copy, listings.get(&number).map(Vec::as_slice))?;
                opened.push(source);
                done
            }
            other => drafting.make(other)?,
        };
        if !done {
            return Ok(None);
        }
    }
    Ok(Some(drafting.draft.finish()))
}

/// What is described so far. Its methods give false where an action takes files.
pub(super) struct Drafting<'a> {
    /// Where owners are looked up.
    pub(super) accounts: Option<&'a Root>,
    pub(super) draft: Draft,
}

impl Drafting<'_> {
    fn make(&mut self, action: &FileAction) -> Result<bool, Cause> {
        match action {
            FileAction::Mkfile { input: _, path, data, mode, owner } => {
                let Some(owner) = self.owner(owner.as_ref())? else { return Ok(false) };
                self.draft.make_file(bytes(&relative(path)), data, *mode, owner)?;
            }
            FileAction::Mkdir { input: _, path, mode, make_parents, owner } => {
                let Some(owner) = self.owner(owner.as_ref())? else { return Ok(false) };
                match make_parents {
                    true => drop(self.draft.make_directories(bytes(&relative(path)), *mode, owner)?),
                    false => self.draft.make_directory(bytes(&relative(path)), *mode, owner)?,
                }
            }
            FileAction::Copy(_) | FileAction::Rm { .. } | FileAction::Symlink { .. } => return Ok(false),
        }
        Ok(true)
    }

    /// Copies what `copy` takes of `source`, which may be listed already.
    pub(super) fn copy(
        &mut self,
        source: Source<'_>,
        copy: &CopyAction,
        listing: Option<&[Found]>,
    ) -> Result<bool, Cause> {
        let own;
        let found = match listing {
            Some(found) => found,
            None => {
                own = select::find(source, copy)?;
                &own
            }
        };
        let dest = relative(&copy.dest);
        copy::check_dest(copy, found.iter().map(|one| &one.selected), self.draft.is_dir(bytes(&dest))?)?;
        let owner = match copy.owner.as_ref().map(|owner| self.owner(Some(owner))).transpose()? {
            Some(None) => return Ok(false),
            owner => owner.flatten(),
        };
        let number = self.draft.add_source(source.root)?;
        for Found { selected, listing } in found {
            let is_archive = || copy.unpack && !selected.is_dir && archive::is_one(source, selected);
            if is_archive() || listing.stats().any(has_holes) {
                return Ok(false);
            }
            // An earlier one may have made it.
            let is_dir = self.draft.is_dir(bytes(&dest))?;
            let (to, inside) = copy::destination(selected, copy, is_dir);
            copy::with_options(copy, owner, source.files.is_some(), inside, |options| {
                self.draft.copy(Taken { source: number, listing }, bytes(&to), options)
            })?;
        }
        Ok(true)
    }

    /// The numbers of an owner; `None` if that takes files which nobody unpacked.
    fn owner(&mut self, owner: Option<&Owner>) -> Result<Option<fs::Owner>, Cause> {
        let is_name = |part: &Option<Principal>| matches!(part, Some(Principal::Name(_)));
        let Some(named) = owner.filter(|owner| is_name(&owner.user) || is_name(&owner.group)) else {
            return owner::numbers(owner).map(Some);
        };
        let Some(accounts) = self.accounts else { return Ok(None) };
        for path in ACCOUNTS {
            if self.draft.is_described(path)? {
                return Ok(None);
            }
        }
        owner::lookup(Some(named), accounts).map(Some)
    }
}

fn copied_input<'a>(copy: &CopyAction, inputs: &'a [Value]) -> Result<&'a Value, Cause> {
    let input = match copy.source {
        ActionInput::Input(input) => inputs.get(input as usize),
        _ => None,
    };
    input.ok_or_else(|| Cause::Invalid("a missing input".to_owned()))
}

/// Whether a file has so large holes that its place in a tar, which has none, is better not taken.
pub(super) fn has_holes(stat: &Stat) -> bool {
    stat.is_file() && stat.blocks * 512 + MIN_HOLES < stat.size
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
