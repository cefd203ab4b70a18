//! Which files a copy takes: its paths resolved, its wildcards expanded, and one digest of it all.

mod filter;
mod parents;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use kiln_graph::CopyAction;
use kiln_graph::glob::{Pattern, has_wildcard};
use kiln_oci::{Digest, Digester};
use kiln_snapshot::checksum::{ChecksumOptions, Listing};
use kiln_snapshot::filter::Verdict;
use kiln_sys::fs::{self, Root, Time};
use rayon::prelude::*;

use crate::context::LocalFiles;
use crate::error::Cause;

pub(crate) use filter::CopyFilter;

/// The most paths that the wildcards of one copy may stand for.
const MAX_MATCHES: usize = 100_000;

/// The error number of a path that goes through a file.
const ENOTDIR: i32 = 20;

/// A tree that files are copied from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// The tree.
    pub(crate) root: &'a Root,
    /// Its rules, where it is a local context.
    pub(crate) files: Option<&'a LocalFiles>,
}

/// One path that a copy takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selected {
    /// Beneath the source's root, links followed, without a leading slash.
    pub(crate) path: PathBuf,
    /// The name it had where it was written; what a file is called where it lands in a directory.
    pub(crate) name: OsString,
    /// Whether it is a directory.
    pub(crate) is_dir: bool,
    /// Of a directory with `--parents`: the pattern of the paths in it that are taken; all without it.
    pub(crate) include: Option<String>,
}

/// Everything that a copy takes of its source, in order.
pub(crate) fn select(source: Source<'_>, copy: &CopyAction) -> Result<Vec<Selected>, Cause> {
    let mut selected = Vec::new();
    for path in &copy.paths {
        selected.extend(match copy.parents {
            true => parents::select(source, path, copy)?,
            false => source.paths(path, copy)?,
        });
        if selected.len() > MAX_MATCHES {
            return Err(Cause::Invalid(format!("`{path}` matches more than {MAX_MATCHES} paths")));
        }
    }
    let filter = CopyFilter::new(source, copy)?;
    selected.retain(|one| one.is_dir || !filter.excludes(one.name.as_bytes()));
    Ok(selected)
}

/// One path that a copy takes, with everything that is taken of it.
#[derive(Debug)]
pub(crate) struct Found {
    /// What was selected.
    pub(crate) selected: Selected,
    /// Itself and what is in it.
    pub(crate) listing: Listing,
}

/// Everything that a copy takes of its source, read.
pub(crate) fn find(source: Source<'_>, copy: &CopyAction) -> Result<Vec<Found>, Cause> {
    let mut found = list(source, copy)?;
    read(source, copy, &mut found)?;
    Ok(found)
}

/// Everything that a copy takes of its source, by names and metadata.
pub(crate) fn list(source: Source<'_>, copy: &CopyAction) -> Result<Vec<Found>, Cause> {
    let filter = CopyFilter::new(source, copy)?;
    let one = |selected: Selected| -> Result<Found, Cause> {
        let beneath = filter.beneath(&selected)?;
        let options = ChecksumOptions { filter: Some(&beneath), ..options(source, copy) };
        let listing = Listing::of(source.root, &selected.path, &options)?;
        drop(beneath);
        let vanished = || Cause::Invalid(format!("`{}` vanished", selected.path.display()));
        let listing = listing.ok_or_else(vanished)?;
        Ok(Found { selected, listing })
    };
    select(source, copy)?.into_par_iter().map(one).collect()
}

/// Reads what was listed, if that was not done before. The digest of it all: names as they land, types, modes, content, links,
/// owners that are kept; no times.
pub(crate) fn read(source: Source<'_>, copy: &CopyAction, found: &mut [Found]) -> Result<Digest, Cause> {
    let options = options(source, copy);
    let one = |found: &mut Found| found.listing.read(source.root, &options);
    let digests: Vec<Digest> = found.par_iter_mut().map(one).collect::<Result<_, _>>()?;
    let mut all = Digester::sha256();
    for (Found { selected, .. }, digest) in found.iter().zip(&digests) {
        add_name(&mut all, copy, selected);
        all.update(digest.as_str().as_bytes());
    }
    Ok(all.finish())
}

/// What was listed in short: where it is the same, the digest of what is read is the same. And when anything of it changed last.
pub(crate) fn stamp(copy: &CopyAction, found: &[Found]) -> (Digest, Time) {
    let mut all = Digester::sha256();
    let mut newest = Time::default();
    for Found { selected, listing } in found {
        add_name(&mut all, copy, selected);
        let stamp = listing.stamp();
        all.update(&stamp.digest);
        newest = newest.max(stamp.newest);
    }
    (all.finish(), newest)
}

fn options<'a>(source: Source<'a>, copy: &CopyAction) -> ChecksumOptions<'a> {
    ChecksumOptions {
        filter: None,
        owner: (source.files.is_some() || copy.owner.is_some()).then_some((0, 0)),
        memo: source.files.and_then(LocalFiles::memo),
        as_link: !copy.follow_symlinks,
    }
}

/// Adds the name under which a path lands.
fn add_name(all: &mut Digester, copy: &CopyAction, selected: &Selected) {
    let name = if selected.is_dir && copy.contents_only { &[] } else { selected.name.as_bytes() };
    all.update(&(name.len() as u64).to_le_bytes());
    all.update(name);
}

/// `path` without `.`, `..` and double slashes; `..` never leads out.
fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

impl Source<'_> {
    /// What a path stands for: itself, or what its wildcards match.
    fn paths(&self, path: &str, copy: &CopyAction) -> Result<Vec<Selected>, Cause> {
        let pattern = clean(path);
        if !copy.allow_wildcard || !has_wildcard(path) {
            return Ok(vec![self.literal(path, &pattern, copy.follow_symlinks)?]);
        }
        let found = self.expand(&pattern)?;
        if found.is_empty() && !copy.allow_empty_wildcard {
            return Err(self.missing(path, &pattern));
        }
        Ok(found)
    }

    /// A path without wildcards, which must be there.
    fn literal(&self, written: &str, path: &Path, follow: bool) -> Result<Selected, Cause> {
        match self.look(path, follow)? {
            Some(selected) if self.shows(&selected) => Ok(selected),
            _ => Err(self.missing(written, path)),
        }
    }

    /// What is at `path`, or nothing.
    fn look(&self, path: &Path, follow: bool) -> Result<Option<Selected>, Cause> {
        let name = path.file_name().unwrap_or_default().to_owned();
        let wanted = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let fd = match self.root.resolve(wanted, follow) {
            Err(error) if error.is_not_found() || is_not_directory(&error) => return Ok(None),
            result => result?,
        };
        let stat = fs::fstat(std::os::fd::AsFd::as_fd(&fd))?;
        let path = if follow { self.real_path(&fd, path) } else { path.to_owned() };
        Ok(Some(Selected { path, name, is_dir: stat.is_dir(), include: None }))
    }

    /// Where an open file is beneath the root, with links resolved; `path` where the kernel cannot say.
    fn real_path(&self, fd: &std::os::fd::OwnedFd, path: &Path) -> PathBuf {
        let real = std::fs::read_link(fs::proc_path(fd));
        let root = std::fs::read_link(fs::proc_path(&std::os::fd::AsFd::as_fd(self.root)));
        match (real, root) {
            (Ok(real), Ok(root)) => real.strip_prefix(root).map_or_else(|_| path.to_owned(), Path::to_owned),
            _ => path.to_owned(),
        }
    }

    /// Whether the rules of a local context show the path, or something beneath it.
    fn shows(&self, selected: &Selected) -> bool {
        let verdict =
            |files: &LocalFiles| files.verdict(selected.path.as_os_str().as_bytes(), selected.is_dir);
        self.files.is_none_or(|files| match verdict(files) {
            Verdict::Take => true,
            Verdict::Descend => selected.is_dir,
            Verdict::Prune => false,
        })
    }

    /// Every path that a pattern stands for, sorted.
    fn expand(&self, pattern: &Path) -> Result<Vec<Selected>, Cause> {
        let mut found = vec![PathBuf::new()];
        for component in pattern.components() {
            let Component::Normal(component) = component else { continue };
            let text = component.to_string_lossy();
            if !has_wildcard(&text) {
                found.iter_mut().for_each(|path| path.push(component));
                continue;
            }
            let mut next = Vec::new();
            for dir in &found {
                next.extend(self.names(dir, &text)?.into_iter().map(|name| dir.join(name)));
                if next.len() > MAX_MATCHES {
                    let pattern = pattern.display();
                    return Err(Cause::Invalid(format!("`{pattern}` matches more than {MAX_MATCHES} paths")));
                }
            }
            found = next;
        }
        let mut selected = Vec::new();
        for path in found {
            // A link that a wildcard matches is taken as what it points to, like one that is named.
            let Some(one) = self.look(&path, true)? else { continue };
            if self.shows(&one) {
                selected.push(one);
            }
        }
        Ok(selected)
    }

    fn names(&self, dir: &Path, pattern: &str) -> Result<Vec<OsString>, Cause> {
        let wanted = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let fd = match self.root.open_dir(wanted) {
            Err(error) if error.is_not_found() || is_not_directory(&error) => return Ok(Vec::new()),
            result => result?,
        };
        let pattern = Pattern::new(pattern).map_err(|error| Cause::Invalid(error.to_string()))?;
        let entries = fs::read_dir(std::os::fd::AsFd::as_fd(&fd))?.into_iter();
        let named = entries.map(|entry| OsString::from_vec(entry.name.as_bytes().to_vec()));
        let mut names: Vec<OsString> = named.filter(|name| pattern.matches(name.as_bytes())).collect();
        names.sort();
        Ok(names)
    }

    fn missing(&self, written: &str, path: &Path) -> Cause {
        let mut cause = match self.files {
            Some(files) => files.missing(written, path),
            None => {
                let place = "the filesystem that is copied from".to_owned();
                Cause::NotFound { path: written.to_owned(), place, hint: None }
            }
        };
        if let Cause::NotFound { hint: hint @ None, .. } = &mut cause {
            *hint = crate::meant::hint(written, path, |dir| self.names(dir, "*").unwrap_or_default());
        }
        cause
    }
}

fn is_not_directory(error: &kiln_sys::Error) -> bool {
    error.errno.raw_os_error() == ENOTDIR
}
