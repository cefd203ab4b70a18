//! Copying between a container and this machine, by docker's rules for what exists and for slashes at the end.

use std::io::Write;
use std::path::{Path, PathBuf};

use kiln_runtime::prepare::view::normalise;
use kiln_sys::fs::{Owner, Root};

use super::tree::{self, Tree};
use super::{Files, WriteOptions};
use crate::{Error, Result};

/// How files are copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Follow a link that the source is.
    pub follow: bool,
    /// Out of a container owners are kept, into it all belongs to the user whom it runs as, if it says one.
    pub archive: bool,
}

impl Files {
    /// Copies what is at `source` in the container to `target` on this machine, as the user `owner`; bytes of the tar in between.
    /// Devices are left out.
    pub fn copy_out(
        &self,
        source: &str,
        target: &Path,
        owner: (u32, u32),
        options: CopyOptions,
    ) -> Result<u64> {
        let host = host()?;
        let to = Tree { root: &host };
        let owner = (!options.archive).then_some(Owner { uid: owner.0, gid: owner.1 });
        copy(self.tree(), source, to, &text(target)?, options.follow, |dir, tar| {
            to.write(dir, tar, owner, true, false)
        })
    }

    /// Copies what is at `source` on this machine to `target` in the container; bytes of the tar in between.
    pub fn copy_in(&self, source: &Path, target: &str, options: CopyOptions) -> Result<u64> {
        let host = host()?;
        let write = WriteOptions { keep_kinds: true, as_container_user: options.archive };
        copy(Tree { root: &host }, &text(source)?, self.tree(), target, options.follow, |dir, tar| {
            self.write(dir, tar, write)
        })
    }

    /// [`Files::read`] of what the links of `path` lead to.
    pub fn read_following(&self, path: &str, out: impl Write) -> Result<()> {
        let target = self.tree().follow(path)?;
        self.tree().read(&target.to_string_lossy(), &tree::top_name(path), out)
    }
}

fn host() -> Result<Root> {
    Root::open(Path::new("/")).map_err(|error| Error::internal("open `/`", error))
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::invalid(format!("`{}` is not UTF-8", path.display())))
}

fn copy(
    from: Tree<'_>,
    source: &str,
    to: Tree<'_>,
    target: &str,
    follow: bool,
    write: impl FnOnce(&str, std::io::PipeReader) -> Result<()>,
) -> Result<u64> {
    let is_dir = from.stat(source, follow)?.is_dir();
    let source = if follow { followed(from, source)? } else { source.to_owned() };
    let (dir, top) = place(to, target, &source, is_dir)?;
    let failed = |error| Error::internal("make a pipe", error);
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    std::thread::scope(|scope| {
        let mut out = Counted { inner: writer, bytes: 0 };
        let reading = scope.spawn(move || from.read(&source, &top, &mut out).map(|()| out.bytes));
        let written = write(&dir, reader);
        let read = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // Where writing failed, reading did because nobody took it any more.
        written.and(read)
    })
}

/// The path that the links of `path` lead to, with what is at its end.
fn followed(tree: Tree<'_>, path: &str) -> Result<String> {
    let target = tree.follow(path)?.to_string_lossy().into_owned();
    Ok(if tree::is_contents(path) { format!("{target}/.") } else { target })
}

/// The directory that a copy goes into, and the name that it has there.
fn place(to: Tree<'_>, target: &str, source: &str, is_dir: bool) -> Result<(String, Vec<u8>)> {
    let own_name = tree::top_name(source);
    let end = to.follow(target)?;
    match to.stat(&end.to_string_lossy(), true) {
        Ok(found) if found.is_dir() => {
            let name = if own_name.is_empty() { b".".to_vec() } else { own_name };
            return Ok((end.to_string_lossy().into_owned(), name));
        }
        Ok(_) if is_dir => {
            return Err(Error::invalid(format!("cannot copy a directory to the file `{target}`")));
        }
        Ok(_) if target.ends_with('/') => {
            return Err(Error::invalid(format!("`{target}` is not a directory")));
        }
        Err(error) if error.kind != crate::ErrorKind::NotFound => return Err(error),
        Err(_) if !is_dir && target.ends_with('/') => {
            return Err(Error::not_found(format!("the directory `{target}` must exist")));
        }
        _ => {}
    }
    let parent = end.parent().map_or_else(|| PathBuf::from("/"), normalise);
    let name = end.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
    match to.stat(&parent.to_string_lossy(), true) {
        Ok(_) => Ok((parent.to_string_lossy().into_owned(), name)),
        Err(_) => Err(Error::not_found(format!("there is no directory `{}`", parent.display()))),
    }
}

/// Counts what is written.
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
