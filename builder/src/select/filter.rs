//! Which paths beneath a taken one are copied: not what the context hides or `--exclude` names, and with `--parents` only
//! what its pattern matches.

use std::os::unix::ffi::OsStrExt;

use kiln_graph::CopyAction;
use kiln_graph::ignore::IgnoreFile;
use kiln_snapshot::filter::{Filter, Verdict};

use super::{Selected, Source};
use crate::context::{LocalFiles, join, list};
use crate::error::Cause;

/// What a copy leaves out: what the context hides, and what `--exclude` names.
pub(crate) struct CopyFilter<'a> {
    files: Option<&'a LocalFiles>,
    exclude: IgnoreFile,
}

/// The filter of one path that a copy takes.
struct Beneath<'a> {
    filter: &'a CopyFilter<'a>,
    /// The path itself.
    prefix: &'a [u8],
    /// What is taken of it.
    include: Option<IgnoreFile>,
}

impl<'a> CopyFilter<'a> {
    /// The filter of a copy.
    pub(crate) fn new(source: Source<'a>, copy: &CopyAction) -> Result<CopyFilter<'a>, Cause> {
        Ok(CopyFilter { files: source.files, exclude: list(&copy.exclude)? })
    }

    /// The filter for paths beneath one that is taken.
    pub(crate) fn beneath(&'a self, selected: &'a Selected) -> Result<impl Filter + 'a, Cause> {
        let include = selected.include.clone().map(|pattern| list(&[pattern])).transpose()?;
        Ok(Beneath { filter: self, prefix: selected.path.as_os_str().as_bytes(), include })
    }

    /// Whether `--exclude` names `path`, which is relative to what is copied.
    pub(crate) fn excludes(&self, path: &[u8]) -> bool {
        self.exclude.decide(path).excluded
    }
}

impl Beneath<'_> {
    fn excluded(&self, path: &[u8], is_dir: bool) -> Verdict {
        match self.filter.excludes(path) {
            false => Verdict::Take,
            true if is_dir && !self.filter.exclude.can_prune(path) => Verdict::Descend,
            true => Verdict::Prune,
        }
    }

    fn included(&self, path: &[u8], is_dir: bool) -> Verdict {
        match &self.include {
            None => Verdict::Take,
            Some(include) if include.decide(path).excluded => Verdict::Take,
            Some(include) if is_dir && include.may_match_below(path) => Verdict::Descend,
            Some(_) => Verdict::Prune,
        }
    }
}

impl Filter for Beneath<'_> {
    fn verdict(&self, path: &[u8], is_dir: bool) -> Verdict {
        let files = self.filter.files.filter(|files| files.is_filtered());
        let context = files.map_or(Verdict::Take, |files| files.verdict(&join(self.prefix, path), is_dir));
        least(context, least(self.excluded(path, is_dir), self.included(path, is_dir)))
    }
}

/// The stricter of two verdicts.
fn least(a: Verdict, b: Verdict) -> Verdict {
    match (a, b) {
        (Verdict::Prune, _) | (_, Verdict::Prune) => Verdict::Prune,
        (Verdict::Descend, _) | (_, Verdict::Descend) => Verdict::Descend,
        _ => Verdict::Take,
    }
}

impl std::fmt::Debug for CopyFilter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CopyFilter")
    }
}
