//! A local context: a directory of whoever asked, read in place and hidden in part by ignore rules.

use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_graph::ignore::IgnoreFile;
use kiln_oci::Digest;
use kiln_snapshot::checksum::Memo;
use kiln_snapshot::filter::{Filter, Verdict};
use kiln_sys::fs::{self, Root};

use crate::error::Cause;
use crate::index::Index;

/// A directory outside the store, seen through its ignore rules.
pub struct LocalFiles {
    /// Which context it is.
    pub name: String,
    /// Where it is; for messages and mounts, files are opened beneath `root`.
    pub path: PathBuf,
    /// The directory itself.
    pub root: Root,
    exclude: IgnoreFile,
    index: Option<Arc<Index>>,
}

impl LocalFiles {
    /// Opens the directory `path`. `exclude` are the lines of a `.dockerignore`; `index` remembers digests of unchanged
    /// files. Nothing else is hidden: a context is read in place, and each op takes only the files that it names and
    /// those that links among them lead to.
    pub(crate) fn open(
        name: &str,
        path: &Path,
        exclude: &[String],
        index: Option<Arc<Index>>,
    ) -> Result<LocalFiles, Cause> {
        let root = Root::open(path)?;
        Ok(LocalFiles {
            name: name.to_owned(),
            path: path.to_owned(),
            root,
            exclude: patterns(exclude)?,
            index,
        })
    }

    /// What the source is as a whole, files aside; who uses files asks for the digest of those.
    pub fn digest(&self) -> Digest {
        Digest::of(format!("local {}", self.name).as_bytes())
    }

    /// Whether some files of the directory are hidden.
    pub fn is_filtered(&self) -> bool {
        !self.exclude.is_empty()
    }

    /// What the rules say of a path relative to the context's root.
    pub fn verdict(&self, path: &[u8], is_dir: bool) -> Verdict {
        if path.is_empty() {
            return Verdict::Take;
        }
        let hidden = self.exclude.decide(path).excluded;
        match (hidden, is_dir) {
            (false, _) => Verdict::Take,
            (true, false) => Verdict::Prune,
            (true, true) if self.exclude.can_prune(path) => Verdict::Prune,
            (true, true) => Verdict::Descend,
        }
    }

    /// The line of the ignore file that hides a path, from 1.
    pub fn hidden_by(&self, path: &Path) -> Option<u32> {
        let decision = self.exclude.decide(path.as_os_str().as_bytes());
        decision.line.filter(|_| decision.excluded)
    }

    /// Whether the rules show what is at a path relative to the context's root, or something in it.
    pub fn shows(&self, path: &Path) -> bool {
        let is_dir = || fs::fstat(self.root.resolve(path, true)?.as_fd()).map(|stat| stat.is_dir());
        path == Path::new(".")
            || self.verdict(path.as_os_str().as_bytes(), is_dir().unwrap_or(false)) != Verdict::Prune
    }

    /// The error of a path, as it was written and relative to the context's root, that is not there or hidden.
    pub fn missing(&self, written: &str, path: &Path) -> Cause {
        let place = match self.name.as_str() {
            "context" => "the build context".to_owned(),
            name => format!("the context `{name}`"),
        };
        let hint = self.hidden_by(path).map(|line| format!(".dockerignore line {line} excludes it"));
        Cause::NotFound { path: written.to_owned(), place, hint }
    }

    /// The rules as seen from the directory `prefix` inside; `/` and `.` are the context's root.
    pub fn beneath<'a>(&'a self, prefix: &'a Path) -> Beneath<'a> {
        let inside = prefix.strip_prefix("/").or_else(|_| prefix.strip_prefix(".")).unwrap_or(prefix);
        Beneath { files: self, prefix: inside.as_os_str().as_bytes() }
    }

    /// Where digests of unchanged files are kept.
    pub fn memo(&self) -> Option<&dyn Memo> {
        self.index().map(|index| index as &dyn Memo)
    }

    /// What is remembered of the directory.
    pub(crate) fn index(&self) -> Option<&Index> {
        self.index.as_deref()
    }
}

/// The rules that a list of patterns makes.
pub(crate) fn list(patterns: &[String]) -> Result<IgnoreFile, Cause> {
    IgnoreFile::of_patterns(patterns).map_err(|error| Cause::Invalid(error.to_string()))
}

/// The rules that lines of an ignore file make.
fn patterns(lines: &[String]) -> Result<IgnoreFile, Cause> {
    IgnoreFile::parse(lines.join("\n").as_bytes())
        .map_err(|error| Cause::Invalid(format!("ignore rules: {error}")))
}

/// A context's rules for paths relative to a directory in it.
pub struct Beneath<'a> {
    files: &'a LocalFiles,
    prefix: &'a [u8],
}

impl Filter for Beneath<'_> {
    fn verdict(&self, path: &[u8], is_dir: bool) -> Verdict {
        self.files.verdict(&join(self.prefix, path), is_dir)
    }
}

/// Two relative paths with a slash between them where both are there.
pub fn join(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    match (prefix.is_empty(), path.is_empty()) {
        (true, _) => path.to_vec(),
        (_, true) => prefix.to_vec(),
        _ => [prefix, b"/", path].concat(),
    }
}

impl fmt::Debug for LocalFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalFiles")
            .field("name", &self.name)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Beneath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beneath").field("files", self.files).finish_non_exhaustive()
    }
}
