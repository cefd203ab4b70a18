//! What `--parents` takes: of the directory from which on parents are kept, the paths that a pattern matches.

use kiln_graph::CopyAction;
use kiln_graph::glob::has_wildcard;

use super::{Selected, Source, clean};
use crate::error::Cause;

/// What separates the parents that are left out from those that are kept.
const PIVOT: &str = "/./";

/// The directories that `path` begins in, each with the pattern of what is taken of it. The part before a pivot may have
/// wildcards, the part after it `**` too; a path without any must exist.
pub(super) fn select(source: Source<'_>, path: &str, copy: &CopyAction) -> Result<Vec<Selected>, Cause> {
    let (start, rest) = path.split_once(PIVOT).unwrap_or(("/", path));
    let pattern = clean(rest);
    if !has_wildcard(path) {
        source.literal(path, &clean(start).join(&pattern), false)?;
    }
    let mut starts = source.paths(start, copy)?;
    if let Some(file) = starts.iter().find(|one| !one.is_dir) {
        let file = file.path.display();
        return Err(Cause::Invalid(format!("`{file}` is no directory, so nothing in it can be copied")));
    }
    if !pattern.as_os_str().is_empty() {
        let include = pattern.to_string_lossy().into_owned();
        starts.iter_mut().for_each(|start| start.include = Some(include.clone()));
    }
    Ok(starts)
}
