//! One copy: files, directories' contents, and archives that unpack themselves.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use kiln_graph::{ChmodSpec, CopyAction};
use kiln_snapshot::copy::{CopyOptions, Parents, copy_listed};
use kiln_sys::fs::{self, Owner, Root};

use super::{archive, owner};
use crate::error::Cause;
use crate::mounts::relative;
use crate::select::{self, CopyFilter, Found, Selected, Source};

const ROOT: Owner = Owner { uid: 0, gid: 0 };

/// Copies what `copy` takes of `source` into `target`. What of it was listed for a key is held against that, or somebody who
/// edits a file meanwhile would have it remembered as the one before.
pub(super) fn copy(
    source: Source<'_>,
    copy: &CopyAction,
    listing: Option<&[Found]>,
    target: &Root,
) -> Result<(), Cause> {
    let selected = match listing {
        Some(found) => found.iter().map(|one| one.selected.clone()).collect(),
        None => select::select(source, copy)?,
    };
    check_dest(copy, &selected, is_dir(target, &relative(&copy.dest)))?;
    let owner = copy.owner.as_ref().map(|owner| owner::lookup(Some(owner), target)).transpose()?;
    let copying = Copying { source, copy, target, owner, filter: CopyFilter::new(source, copy)? };
    let listed = |at: usize| listing.map(|found| &found[at]);
    selected.iter().enumerate().try_for_each(|(at, one)| copying.one(one, listed(at)))
}

/// Refuses several files where the destination, which may be a directory by now, is to be one file.
pub(super) fn check_dest<'a>(
    copy: &CopyAction,
    selected: impl IntoIterator<Item = &'a Selected>,
    is_dir: bool,
) -> Result<(), Cause> {
    let files = selected.into_iter().filter(|one| !one.is_dir || !copy.contents_only).count();
    if files > 1 && !copy.dest.ends_with('/') && !is_dir {
        let dest = &copy.dest;
        return Err(Cause::Invalid(format!(
            "{files} sources but the destination `{dest}` is no directory and does not end with `/`"
        )));
    }
    Ok(())
}

/// One copy under way.
struct Copying<'a> {
    source: Source<'a>,
    copy: &'a CopyAction,
    target: &'a Root,
    owner: Option<Owner>,
    filter: CopyFilter<'a>,
}

impl Copying<'_> {
    fn one(&self, one: &Selected, listed: Option<&Found>) -> Result<(), Cause> {
        let Copying { source, copy, target, owner, ref filter } = *self;
        let dest = relative(&copy.dest);
        if copy.unpack && !one.is_dir && archive::unpack(source, one, listed, &dest, target, owner)? {
            return Ok(());
        }
        let (to, inside) = destination(one, copy, is_dir(target, &dest));
        let beneath = filter.beneath(one)?;
        with_options(copy, owner, source.files.is_some(), inside, |options| {
            if let Some(Found { listing, .. }) = listed {
                return copy_listed(source.root, listing, target, &to, options).map(drop);
            }
            let options = CopyOptions { filter: Some(&beneath), ..*options };
            let from = if one.path.as_os_str().is_empty() { Path::new(".") } else { &one.path };
            kiln_snapshot::copy::copy(source.root, from, target, &to, &options).map(drop)
        })
    }
}

/// Runs `perform` with how `copy` copies, but for what it leaves out. `is_context` says that the source is a context,
/// `inside` that what is copied lands under its own name in a directory.
pub(super) fn with_options(
    copy: &CopyAction,
    owner: Option<Owner>,
    is_context: bool,
    inside: bool,
    perform: impl FnOnce(&CopyOptions<'_>) -> kiln_snapshot::Result<()>,
) -> Result<(), Cause> {
    let change = |mode: u32, is_dir: bool| copy.mode.as_ref().map_or(mode, |spec| spec.apply(mode, is_dir));
    let options = CopyOptions {
        // Files of a context are nobody's; those of a filesystem keep their owners.
        owner: owner.or_else(|| is_context.then_some(ROOT)),
        mode: copy.mode.is_some().then_some(&change as _),
        filter: None,
        parents: copy.create_dest_parents.then_some(made_directories(copy, owner)),
        mtime: None,
        follow_source: copy.follow_symlinks,
        named: inside,
        merge_metadata: false,
    };
    Ok(perform(&options)?)
}

/// What directories get that must be made for the copy. A mode in numbers is theirs too, as in BuildKit; one in letters
/// has nothing of theirs to start from.
fn made_directories(copy: &CopyAction, owner: Option<Owner>) -> Parents {
    let mode = match &copy.mode {
        Some(ChmodSpec::Octal(mode)) => mode & 0o777,
        Some(ChmodSpec::Symbolic(_)) | None => 0o755,
    };
    Parents { mode, owner: owner.unwrap_or(ROOT) }
}

/// Where a path lands, and whether that is under its own name in a directory. A file that is known by another name than
/// its own (a link was followed) lands under the name that was written. `is_dir` says whether the destination is there as a
/// directory.
pub(super) fn destination(one: &Selected, copy: &CopyAction, is_dir: bool) -> (PathBuf, bool) {
    // `..` is taken out before links are looked at, as people read a path.
    let dest = relative(&copy.dest);
    let inside = match one.is_dir {
        true => !copy.contents_only,
        false => copy.dest.ends_with('/') || is_dir,
    };
    if inside { (dest.join(&one.name), true) } else { (dest, false) }
}

fn is_dir(target: &Root, path: &Path) -> bool {
    let stat = target.resolve(path, true).and_then(|fd| fs::fstat(fd.as_fd()));
    stat.is_ok_and(|stat| stat.is_dir())
}
