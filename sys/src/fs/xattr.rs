//! Extended attributes of one name, without following a symbolic link.

use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::path::Arg;

use super::at::proc_path;
use crate::error::{Context, Result};

/// The same number on every architecture; `libc` does not have it for all of them.
const SYS_LISTXATTRAT: libc::c_long = 465;
/// The most bytes of attribute names a file has (the kernel's own limit).
const LIST_MAX: usize = 64 * 1024;
/// The most bytes one value has (the kernel's own limit).
const VALUE_MAX: usize = 64 * 1024;

/// The names of the attributes of `name` in `dir`; an empty name means `dir` itself. None where the
/// file system has no attributes.
pub fn list(dir: BorrowedFd<'_>, name: impl AsRef<Path>) -> Result<Vec<OsString>> {
    let mut buffer = [0u8; 1024];
    match list_into(dir, name.as_ref(), &mut buffer) {
        Ok(n) => Ok(split(&buffer[..n])),
        Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
        Err(Errno::RANGE) => {
            let mut buffer = vec![0u8; LIST_MAX];
            let n = list_into(dir, name.as_ref(), &mut buffer).on("llistxattr", name.as_ref())?;
            Ok(split(&buffer[..n]))
        }
        Err(errno) => Err(errno).on("llistxattr", name.as_ref()),
    }
}

/// Lists by `listxattrat` (Linux 6.13), which spares the way through /proc; through /proc where that is not known.
fn list_into(dir: BorrowedFd<'_>, name: &Path, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    static IS_UNKNOWN: AtomicBool = AtomicBool::new(false);
    if !IS_UNKNOWN.load(Ordering::Relaxed) {
        let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
        let mut call = |name: &CStr| {
            let fd = dir.as_raw_fd();
            // SAFETY: the descriptor is open, the name ends with a zero byte, and the buffer is as long as is said.
            let done = unsafe {
                libc::syscall(SYS_LISTXATTRAT, fd, name.as_ptr(), flags, buffer.as_mut_ptr(), buffer.len())
            };
            usize::try_from(done)
                .map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
        };
        match name.into_with_c_str(|name| Ok(call(name))) {
            // A filter around this process may also refuse what it does not know.
            Ok(Err(Errno::NOSYS | Errno::PERM)) => IS_UNKNOWN.store(true, Ordering::Relaxed),
            Ok(done) => return done,
            Err(errno) => return Err(errno),
        }
    }
    rustix::fs::llistxattr(path_of(dir, name), buffer)
}

/// The value of one attribute; `None` when the file has none of that name.
pub fn get(dir: BorrowedFd<'_>, name: impl AsRef<Path>, attribute: &OsStr) -> Result<Option<Vec<u8>>> {
    let path = path_of(dir, name.as_ref());
    let mut buffer = [0u8; 256];
    let result = match rustix::fs::lgetxattr(&path, attribute, &mut buffer) {
        Ok(n) => Ok(buffer[..n].to_vec()),
        Err(Errno::RANGE) => {
            let mut buffer = vec![0u8; VALUE_MAX];
            rustix::fs::lgetxattr(&path, attribute, &mut buffer).map(|n| buffer[..n].to_vec())
        }
        Err(errno) => Err(errno),
    };
    match result {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        other => other.on("lgetxattr", name.as_ref()).map(Some),
    }
}

/// Sets an attribute.
pub fn set(dir: BorrowedFd<'_>, name: impl AsRef<Path>, attribute: &OsStr, value: &[u8]) -> Result<()> {
    let path = path_of(dir, name.as_ref());
    rustix::fs::lsetxattr(&path, attribute, value, XattrFlags::empty()).on("lsetxattr", name.as_ref())
}

/// Sets an attribute of an open file or directory.
pub fn fset(fd: BorrowedFd<'_>, attribute: &OsStr, value: &[u8]) -> Result<()> {
    rustix::fs::fsetxattr(fd, attribute, value, XattrFlags::empty()).on("fsetxattr", attribute)
}

/// Removes an attribute; a missing one is fine.
pub fn remove(dir: BorrowedFd<'_>, name: impl AsRef<Path>, attribute: &OsStr) -> Result<()> {
    let path = path_of(dir, name.as_ref());
    match rustix::fs::lremovexattr(&path, attribute) {
        Err(Errno::NODATA) => Ok(()),
        other => other.on("lremovexattr", name.as_ref()),
    }
}

/// The calls want a path: the directory's entry in /proc/self/fd, and one name after it.
fn path_of(dir: BorrowedFd<'_>, name: &Path) -> PathBuf {
    let mut path = proc_path(&dir);
    // Without a name the trailing dot makes the kernel step through the magic link.
    path.push(if name.as_os_str().is_empty() { Path::new(".") } else { name });
    path
}

fn split(names: &[u8]) -> Vec<OsString> {
    names.split(|b| *b == 0).filter(|n| !n.is_empty()).map(|n| OsString::from_vec(n.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Root, at};
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn attributes_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        at::create_file(root.as_fd(), "f", 0o600).unwrap();
        let key = OsStr::new("trusted.kiln.test");
        set(root.as_fd(), "f", key, &[7; 300]).unwrap();
        assert_eq!(get(root.as_fd(), "f", key).unwrap().unwrap(), [7; 300]);
        assert!(list(root.as_fd(), "f").unwrap().contains(&key.to_owned()));
        let long = OsString::from(format!("trusted.{}", "x".repeat(200)));
        (0..8).for_each(|n| {
            let mut name = long.clone();
            name.push(n.to_string());
            set(root.as_fd(), "f", &name, b"").unwrap();
        });
        assert!(list(root.as_fd(), "f").unwrap().len() >= 9, "more names than fit at first");
        remove(root.as_fd(), "f", key).unwrap();
        assert_eq!(get(root.as_fd(), "f", key).unwrap(), None);
        at::symlinkat("f", root.as_fd(), "link").unwrap();
        assert!(!list(root.as_fd(), "link").unwrap().contains(&key.to_owned()), "a link is not followed");
        set(root.as_fd(), "", key, b"dir").unwrap();
        assert!(list(root.as_fd(), "").unwrap().contains(&key.to_owned()));
        assert_eq!(list(root.as_fd(), "missing").unwrap_err().errno, Errno::NOENT);
        assert_eq!(get(root.as_fd(), "", key).unwrap().unwrap(), b"dir");
        let file = at::open_file(root.as_fd(), "f").unwrap();
        fset(file.as_fd(), key, b"open").unwrap();
        assert_eq!(get(root.as_fd(), "f", key).unwrap().unwrap(), b"open");
    }
}
