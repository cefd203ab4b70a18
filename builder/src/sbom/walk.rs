//! Every file beneath a root, links never followed.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use kiln_sys::fs::{self, Entry, FileType, Root};

/// The most files that are looked at.
const MAX_ENTRIES: usize = 10_000_000;
/// How deep folders may be nested.
const MAX_DEPTH: usize = 256;

/// Shows `visit` every regular file, by its folder and name.
///
/// A folder that cannot be read, or is too deep, is added to `notes`.
pub(super) fn walk(root: &Root, notes: &mut Vec<String>, visit: &mut dyn FnMut(&Folder<'_>, &Entry)) {
    let mut stack: Vec<(PathBuf, usize)> = vec![(PathBuf::new(), 0)];
    let mut left = MAX_ENTRIES;
    while let Some((path, depth)) = stack.pop() {
        let fd = match open(root, &path) {
            Ok(fd) => fd,
            Err(error) => {
                notes.push(format!("`{}` ({error})", path.display()));
                continue;
            }
        };
        let folder = Folder { path: &path, fd: fd.as_fd() };
        let mut entries = match fs::read_dir(folder.fd) {
            Ok(entries) => entries,
            Err(error) => {
                notes.push(format!("`{}` ({error})", path.display()));
                continue;
            }
        };
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        for entry in entries {
            if left == 0 {
                return notes.push(format!("what comes after {MAX_ENTRIES} files"));
            }
            left -= 1;
            match kind(&folder, &entry) {
                FileType::RegularFile => visit(&folder, &entry),
                FileType::Directory if depth == MAX_DEPTH => {
                    notes.push(format!("`{}` (nested too deep)", path.join(&entry.name).display()));
                }
                FileType::Directory => stack.push((path.join(&entry.name), depth + 1)),
                _ => {}
            }
        }
    }
}

/// A folder that is being looked at.
pub(super) struct Folder<'a> {
    /// Where it is, relative to the root.
    pub(super) path: &'a Path,
    /// A handle on it.
    pub(super) fd: std::os::fd::BorrowedFd<'a>,
}

fn open(root: &Root, path: &Path) -> kiln_sys::Result<std::os::fd::OwnedFd> {
    root.open_dir(if path.as_os_str().is_empty() { Path::new(".") } else { path })
}

fn kind(folder: &Folder<'_>, entry: &Entry) -> FileType {
    match entry.file_type {
        FileType::Unknown => {
            fs::statat(folder.fd, &entry.name).map_or(FileType::Unknown, |stat| stat.file_type())
        }
        known => known,
    }
}
