//! Path resolution that cannot leave a root directory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use super::at::{chmodat, chownat, mkdirat};
use super::stat::{FileType, Time, fstat};
use crate::error::{Context, Error, Result};

/// The most symbolic links one path may go through, as in the kernel.
const LINKS_MAX: usize = 40;

/// User and group of a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A directory beneath which every path is resolved: absolute links and `..` stop at it.
#[derive(Debug)]
pub struct Root(OwnedFd);

/// A directory that did not exist before: its parent and its name there.
#[derive(Debug)]
pub struct CreatedDir {
    /// The directory it was made in.
    pub parent: OwnedFd,
    /// Its name there.
    pub name: OsString,
    /// When the parent had last been changed before.
    pub parent_mtime: Time,
}

impl Root {
    /// Opens the directory at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty()).on("openat", path)?))
    }

    /// Takes a directory descriptor (also an `O_PATH` one, or a detached mount).
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Gives the descriptor back.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Another handle on the same directory.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self(rustix::io::fcntl_dupfd_cloexec(&self.0, 0).on("fcntl", "a directory descriptor")?))
    }

    /// An `O_PATH` handle on what `path` leads to; a symbolic link itself when `follow_last` is false.
    pub fn resolve(&self, path: impl AsRef<Path>, follow_last: bool) -> Result<OwnedFd> {
        let follow = if follow_last { OFlags::empty() } else { OFlags::NOFOLLOW };
        self.open_with(path, OFlags::PATH | follow, 0)
    }

    /// Opens a file for reading. It must be a regular file: a device or FIFO is `EINVAL`.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        let fd = self.open_with(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, 0)?;
        match fstat(fd.as_fd())?.file_type() {
            FileType::RegularFile => Ok(File::from(fd)),
            _ => {
                Err(Error::new("openat2", format!("`{}` (not a regular file)", path.display()), Errno::INVAL))
            }
        }
    }

    /// Opens a directory so that it can be read and worked in.
    pub fn open_dir(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        self.open_with(path, OFlags::RDONLY | OFlags::DIRECTORY, 0)
    }

    /// `openat2` beneath this root with the given flags, and permissions for a new file.
    pub fn open_with(&self, path: impl AsRef<Path>, flags: OFlags, mode: u32) -> Result<OwnedFd> {
        let path = path.as_ref();
        let name = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mode = Mode::from_raw_mode(mode);
        loop {
            match openat2(&self.0, name, flags | OFlags::CLOEXEC, mode, resolve) {
                // A rename raced with a `..` lookup; the kernel asks to try again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other.on("openat2", path),
            }
        }
    }

    /// The directory that holds the last name of `path` (links on the way followed), and that name.
    pub fn parent_of(&self, path: impl AsRef<Path>) -> Result<(OwnedFd, OsString)> {
        let path = path.as_ref();
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
            return Err(Error::new(
                "openat2",
                format!("`{}` (has no last name)", path.display()),
                Errno::INVAL,
            ));
        };
        Ok((self.open_with(parent, OFlags::PATH | OFlags::DIRECTORY, 0)?, name.to_owned()))
    }

    /// Makes `path` and what is missing above it; returns a handle on it.
    ///
    /// Links are followed inside the root, also dangling ones: what they point to is made.
    pub fn create_dir_all(&self, path: impl AsRef<Path>, mode: u32, owner: Option<Owner>) -> Result<OwnedFd> {
        self.create_dir_all_noting(path, mode, owner, &mut Vec::new())
    }

    /// Like [`Root::create_dir_all`], and adds each directory that it had to make to `created`, outermost first.
    pub fn create_dir_all_noting(
        &self,
        path: impl AsRef<Path>,
        mode: u32,
        owner: Option<Owner>,
        created: &mut Vec<CreatedDir>,
    ) -> Result<OwnedFd> {
        match self.open_with(&path, OFlags::PATH | OFlags::DIRECTORY, 0) {
            Err(error) if error.is_not_found() => Walk::new(self, path.as_ref())?.run(mode, owner, created),
            other => other,
        }
    }

    /// The whole of a regular file of at most `max` bytes; `None` when it does not exist.
    pub fn read_limited(&self, path: impl AsRef<Path>, max: u64) -> Result<Option<Vec<u8>>> {
        let path = path.as_ref();
        let file = match self.open_file(path) {
            Ok(file) => file,
            Err(error) if matches!(error.errno, Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(max + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
            .on("read", path)?;
        if bytes.len() as u64 > max {
            return Err(Error::new(
                "read",
                format!("`{}` (more than {max} bytes)", path.display()),
                Errno::FBIG,
            ));
        }
        Ok(Some(bytes))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A walk in user space, one component at a time, that makes what is missing.
struct Walk<'a> {
    root: &'a Root,
    /// Directories from below the root to here.
    stack: Vec<OwnedFd>,
    /// Components still to go, the next one last.
    rest: Vec<OsString>,
    links: usize,
    path: PathBuf,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Root, path: &Path) -> Result<Self> {
        let mut walk = Self { root, stack: Vec::new(), rest: Vec::new(), links: 0, path: path.to_owned() };
        walk.push(path);
        Ok(walk)
    }

    fn run(mut self, mode: u32, owner: Option<Owner>, created: &mut Vec<CreatedDir>) -> Result<OwnedFd> {
        while let Some(name) = self.rest.pop() {
            if name == ".." {
                self.stack.pop();
                continue;
            }
            let next = match self.enter(&name)? {
                Some(next) => next,
                None if self.is_link(&name)? => {
                    self.follow(&name)?;
                    continue;
                }
                None => self.make(&name, mode, owner, created)?,
            };
            self.stack.push(next);
        }
        match self.stack.pop() {
            Some(fd) => Ok(fd),
            None => Ok(self.root.try_clone()?.0),
        }
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.stack.last().map_or(self.root.0.as_fd(), AsFd::as_fd)
    }

    /// Puts the components of `path` before what is left to walk; an absolute path starts at the root again.
    fn push(&mut self, path: &Path) {
        if path.is_absolute() {
            self.stack.clear();
        }
        for component in path.components().rev() {
            match component {
                Component::Normal(name) => self.rest.push(name.to_owned()),
                Component::ParentDir => self.rest.push("..".into()),
                _ => {}
            }
        }
    }

    fn enter(&self, name: &OsStr) -> Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(self.here(), name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR) if self.is_link(name)? => Ok(None),
            Err(errno) => Err(errno).on("openat", self.path.as_path()),
        }
    }

    fn is_link(&self, name: &OsStr) -> Result<bool> {
        match super::stat::statat(self.here(), name) {
            Ok(stat) => Ok(stat.file_type() == FileType::Symlink),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn follow(&mut self, name: &OsStr) -> Result<()> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP).on("openat", self.path.as_path());
        }
        let target = rustix::fs::readlinkat(self.here(), name, Vec::new()).on("readlinkat", name)?;
        self.push(Path::new(&OsString::from_vec(target.into_bytes())));
        Ok(())
    }

    fn make(
        &self,
        name: &OsStr,
        mode: u32,
        owner: Option<Owner>,
        created: &mut Vec<CreatedDir>,
    ) -> Result<OwnedFd> {
        let parent_mtime = fstat(self.here())?.mtime;
        mkdirat(self.here(), name, mode)?;
        let parent = rustix::io::fcntl_dupfd_cloexec(self.here(), 0).on("fcntl", "a directory descriptor")?;
        created.push(CreatedDir { parent, name: name.to_owned(), parent_mtime });
        if let Some(owner) = owner {
            chownat(self.here(), name, owner)?;
        }
        // The process's umask must not decide what ends in a layer.
        chmodat(self.here(), name, mode)?;
        self.enter(name)?
            .ok_or_else(|| Error::new("openat", format!("`{}`", self.path.display()), Errno::NOENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn links_and_dots_stay_inside() {
        let (dir, root) = root();
        std::fs::write(dir.path().join("passwd"), "inside").unwrap();
        symlink("/passwd", dir.path().join("absolute")).unwrap();
        symlink("../../../passwd", dir.path().join("dots")).unwrap();
        for path in ["absolute", "dots", "../../passwd", "/passwd"] {
            assert_eq!(root.read_limited(path, 10).unwrap().unwrap(), b"inside", "{path}");
        }
    }

    #[test]
    fn magic_links_are_refused() {
        let root = Root::open(Path::new("/proc/self")).unwrap();
        assert_eq!(root.resolve("root/etc", true).unwrap_err().errno, Errno::LOOP);
    }

    #[test]
    fn a_limit_and_a_fifo_are_errors_and_absence_is_none() {
        let (dir, root) = root();
        std::fs::write(dir.path().join("big"), [0; 11]).unwrap();
        assert_eq!(root.read_limited("big", 10).unwrap_err().errno, Errno::FBIG);
        super::super::mknodat(root.as_fd(), "fifo", libc::S_IFIFO | 0o600, 0).unwrap();
        assert_eq!(root.read_limited("fifo", 10).unwrap_err().errno, Errno::INVAL);
        assert_eq!(root.read_limited("none", 10).unwrap(), None);
    }

    #[test]
    fn directories_are_made_through_dangling_links_but_inside() {
        let (dir, root) = root();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        symlink("/../../target", dir.path().join("a/link")).unwrap();
        let mut created = Vec::new();
        root.create_dir_all_noting("a/link/b/c", 0o750, None, &mut created).unwrap();
        assert!(dir.path().join("target/b/c").is_dir());
        let names: Vec<_> = created.iter().map(|c| c.name.to_str().unwrap()).collect();
        assert_eq!(names, ["target", "b", "c"]);
        let stat = fstat(root.resolve("target/b", true).unwrap().as_fd()).unwrap();
        assert_eq!(stat.permissions(), 0o750);
    }

    #[test]
    fn a_link_loop_and_a_file_in_the_way_are_errors() {
        let (dir, root) = root();
        symlink("loop", dir.path().join("loop")).unwrap();
        assert_eq!(root.create_dir_all("loop/x", 0o755, None).unwrap_err().errno, Errno::LOOP);
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(root.create_dir_all("file/x", 0o755, None).unwrap_err().errno, Errno::NOTDIR);
    }
}
