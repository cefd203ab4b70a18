//! Mounts as values, and how one becomes a mount that nobody sees yet.

mod assembled;
mod flags;
mod options;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::error::{Context, Error, Result, last_errno};
use crate::fs::Root;
pub use assembled::Assembled;
pub use flags::MountFlags;
pub use options::{MountOption, option_string};

/// The longest value `fsconfig` takes as a string; longer paths go in as descriptors.
const FSCONFIG_STRING_MAX: usize = 255;

/// Where a thread with mounts of its own puts one for a moment: any directory serves, only that thread sees it.
const PRIVATE_PLACE: &str = "/proc";

/// One mount: what snapshotters produce and the runtime consumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Device or directory; for a bind the directory or file that is bound.
    pub source: PathBuf,
    /// Where it goes, relative to the root to be; empty means the root itself.
    pub target: PathBuf,
    /// `overlay`, `tmpfs`, `bind`, …
    pub fs_type: String,
    /// `MS_*` flags.
    pub flags: MountFlags,
    /// Options of the file system.
    pub data: Vec<MountOption>,
}

impl Mount {
    /// A bind of `source` that takes the mounts below it along.
    pub fn bind(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            target: target.into(),
            fs_type: "bind".to_owned(),
            flags: MountFlags::BIND | MountFlags::REC,
            data: Vec::new(),
        }
    }

    /// Whether this binds an existing directory or file.
    pub fn is_bind(&self) -> bool {
        self.fs_type == "bind" || self.flags.contains(MountFlags::BIND)
    }

    /// Makes the mount without a place: it is seen only through the descriptor, which serves as a directory.
    pub fn detached(&self) -> Result<OwnedFd> {
        if self.is_bind() { self.detached_bind() } else { self.detached_new() }
    }

    /// Puts the mount at `target` beneath `root` until the guard is dropped.
    pub fn attach(&self, root: &Path) -> Result<MountGuard> {
        let target =
            if self.target.as_os_str().is_empty() { root.to_owned() } else { root.join(&self.target) };
        move_to(self.detached()?.as_fd(), &target)?;
        Ok(MountGuard { target })
    }

    fn detached_bind(&self) -> Result<OwnedFd> {
        let recursive = self.flags.contains(MountFlags::REC);
        let tree = clone_tree(CWD, &self.source, recursive)?;
        let set = self.flags.attributes();
        let propagation = match self.flags.propagation() {
            0 => MountFlags::PRIVATE.0,
            asked => asked,
        };
        set_attributes(tree.as_fd(), set, propagation, recursive)?;
        Ok(tree)
    }

    fn detached_new(&self) -> Result<OwnedFd> {
        let fs =
            fsopen(self.fs_type.as_str(), FsOpenFlags::FSOPEN_CLOEXEC).on("fsopen", self.fs_type.as_str())?;
        let fail = |call, fallback: &Path, errno| explain(&fs, &self.fs_type, call, fallback, errno);
        if !self.source.as_os_str().is_empty() {
            fsconfig_set_string(&fs, "source", &self.source)
                .map_err(|e| fail("fsconfig", &self.source, e))?;
        }
        for (index, option) in self.data.iter().enumerate() {
            match set_option(&fs, option) {
                Err(Errno::INVAL) if self.is_first_lower(index) => return self.detached_classic(),
                other => other.map_err(|e| fail("fsconfig", option_subject(option), e))?,
            }
        }
        fsconfig_create(&fs).map_err(|e| fail("fsconfig", &self.source, e))?;
        let attributes = MountAttrFlags::from_bits_retain(self.flags.attributes() as u32);
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(|e| fail("fsmount", &self.source, e))
    }
}

impl Mount {
    /// Whether the option is the first `lowerdir+`: where that is refused, the kernel (before 6.7) does not know it.
    fn is_first_lower(&self, index: usize) -> bool {
        self.data.iter().position(|option| option.name() == "lowerdir+") == Some(index)
    }

    /// The mount by `mount(2)` and an option string, made in mounts of a thread's own and detached from there.
    fn detached_classic(&self) -> Result<OwnedFd> {
        let options = option_string(&self.data).ok_or(Errno::TOOBIG).on("mount", self.fs_type.as_str())?;
        let flags = rustix::mount::MountFlags::from_bits_retain(self.flags.0 as u32);
        crate::namespace::in_private_mounts(|| {
            rustix::mount::mount(
                &self.source,
                PRIVATE_PLACE,
                self.fs_type.as_str(),
                flags,
                Some(options.as_c_str()),
            )
            .on("mount", self.source.as_path())?;
            clone_tree(CWD, Path::new(PRIVATE_PLACE), false)
        })
    }
}

/// A mount that is taken away when this is dropped.
#[derive(Debug)]
pub struct MountGuard {
    target: PathBuf,
}

impl MountGuard {
    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Unmounts now and says whether that worked.
    pub fn unmount(self) -> Result<()> {
        let result = unmount(&self.target);
        std::mem::forget(self);
        result
    }
}

impl Drop for MountGuard {
    fn drop(&mut self) {
        let _ = unmount(&self.target);
    }
}

/// Lazily unmounts whatever is mounted at `target`.
pub fn unmount(target: &Path) -> Result<()> {
    rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).on("umount2", target)
}

/// Attaches a detached mount at `target`.
pub fn move_to(mount: BorrowedFd<'_>, target: &Path) -> Result<()> {
    move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).on("move_mount", target)
}

/// Attaches a detached mount to what is open as `place`, whatever its name leads to by now.
fn move_onto(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", place, "", flags).on("move_mount", "an open directory")
}

/// A private, detached copy of the tree at `path`: a bind mount that nobody sees yet.
pub fn clone_tree(at: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_EMPTY_PATH, path.as_os_str().is_empty());
    open_tree(at, path, flags).on("open_tree", path)
}

/// A detached mount of what `path` leads to beneath `root`, a mount that may itself be detached; links stay inside it.
///
/// Before Linux 6.15 nothing can be bound from a detached mount. There it is attached for a moment where only one thread
/// sees it; its descriptor stays usable afterwards, but cannot be attached again.
pub fn clone_beneath(root: &Root, path: &Path) -> Result<OwnedFd> {
    match clone_found(root, path) {
        Err(error) if error.errno == Errno::INVAL => clone_attached(root, path),
        other => other,
    }
}

fn clone_found(root: &Root, path: &Path) -> Result<OwnedFd> {
    clone_tree(root.resolve(path, true)?.as_fd(), Path::new(""), false)
}

fn clone_attached(root: &Root, path: &Path) -> Result<OwnedFd> {
    crate::namespace::in_private_mounts(|| {
        move_to(root.as_fd(), Path::new(PRIVATE_PLACE))?;
        clone_found(root, path)
    })
}

/// Makes a detached tree read-only, with everything mounted in it.
pub fn set_readonly(tree: BorrowedFd<'_>) -> Result<()> {
    set_attributes(tree, libc::MOUNT_ATTR_RDONLY, 0, true)
}

/// Keeps mounts that are made in a detached tree from appearing where it was cloned from.
pub fn set_private(tree: BorrowedFd<'_>) -> Result<()> {
    set_attributes(tree, 0, MountFlags::PRIVATE.0, true)
}

/// `mount_setattr` on the mount behind a descriptor.
fn set_attributes(tree: BorrowedFd<'_>, set: u64, propagation: u64, recursive: bool) -> Result<()> {
    let attr = libc::mount_attr { attr_set: set, attr_clr: 0, propagation, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a terminated empty string, `attr` outlives the call and its size is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(Error::new("mount_setattr", "a detached mount", last_errno())) }
}

fn set_option(fs: &OwnedFd, option: &MountOption) -> rustix::io::Result<()> {
    match option {
        MountOption::Flag(name) => fsconfig_set_flag(fs, name.as_str()),
        MountOption::Value(name, value) if value.as_os_str().len() > FSCONFIG_STRING_MAX => {
            let dir = rustix::fs::open(
                value,
                rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            )?;
            fsconfig_set_fd(fs, name.as_str(), dir)
        }
        MountOption::Value(name, value) => fsconfig_set_string(fs, name.as_str(), value),
        MountOption::Descriptor(name, value) => fsconfig_set_fd(fs, name.as_str(), value.0.as_fd()),
    }
}

fn option_subject(option: &MountOption) -> &Path {
    match option {
        MountOption::Flag(name) | MountOption::Descriptor(name, _) => Path::new(name),
        MountOption::Value(_, value) => value,
    }
}

/// An error with what the kernel wrote into the file system context's log.
fn explain(fs: &OwnedFd, fs_type: &str, call: &'static str, subject: &Path, errno: Errno) -> Error {
    let mut log = Vec::new();
    let mut line = [0u8; 512];
    while let Ok(n @ 1..) = rustix::io::read(fs, &mut line) {
        log.push(String::from_utf8_lossy(&line[..n]).trim().trim_start_matches("e ").to_owned());
    }
    let detail = if log.is_empty() { String::new() } else { format!(" ({})", log.join("; ")) };
    Error::new(call, format!("`{fs_type}` `{}`{detail}", subject.display()), errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(base: &Path) -> Mount {
        for name in ["lower", "upper", "work", "root"] {
            std::fs::create_dir(base.join(name)).unwrap();
        }
        Mount {
            source: "overlay".into(),
            target: PathBuf::new(),
            fs_type: "overlay".into(),
            flags: MountFlags::NONE,
            data: vec![
                MountOption::value("lowerdir+", base.join("lower")),
                MountOption::value("upperdir", base.join("upper")),
                MountOption::value("workdir", base.join("work")),
                MountOption::flag("volatile"),
            ],
        }
    }

    #[test]
    fn an_overlay_is_writable_while_attached_and_gone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let mount = overlay(dir.path());
        let guard = mount.attach(&dir.path().join("root")).unwrap();
        std::fs::write(guard.path().join("f"), "x").unwrap();
        guard.unmount().unwrap();
        assert!(dir.path().join("upper/f").exists());
        assert!(!dir.path().join("root/f").exists());
    }

    #[test]
    fn the_classic_way_gives_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let tree = overlay(dir.path()).detached_classic().unwrap();
        crate::fs::create_file(tree.as_fd(), "f", 0o600).unwrap();
        assert!(dir.path().join("upper/f").exists());
        assert!(Path::new("/proc/self").exists());
    }

    #[test]
    fn a_part_of_a_detached_mount_is_cloned_with_and_without_attaching_it() {
        for clone in [clone_beneath, clone_attached] {
            let dir = tempfile::tempdir().unwrap();
            let mount = overlay(dir.path());
            std::fs::create_dir(dir.path().join("lower/deep")).unwrap();
            std::fs::write(dir.path().join("lower/deep/f"), "x").unwrap();
            std::os::unix::fs::symlink("/deep/f", dir.path().join("lower/link")).unwrap();
            let root = Root::from_fd(mount.detached().unwrap());
            let file = clone(&root, Path::new("link")).unwrap();
            set_readonly(file.as_fd()).unwrap();
            let place = dir.path().join("place");
            std::fs::write(&place, "").unwrap();
            move_to(file.as_fd(), &place).unwrap();
            let _guard = MountGuard { target: place.clone() };
            assert_eq!(std::fs::read_to_string(&place).unwrap(), "x");
            assert!(std::fs::write(&place, "y").is_err());
            assert!(root.open_file("deep/f").is_ok(), "the descriptor is still good");
        }
    }

    /// CVE-2024-23651: what is bound is what was found inside, however often it changes places with a link out of it.
    #[test]
    fn a_link_that_changes_places_with_the_source_never_leads_out() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("canary"), "").unwrap();
        std::fs::create_dir(dir.path().join("source")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    rustix::fs::renameat_with(&root, "source", &root, "link", flags).unwrap();
                }
            });
            for _ in 0..10_000 {
                // A link out of the root leads nowhere in it.
                if let Ok(tree) = clone_beneath(&root, Path::new("source")) {
                    assert!(Root::from_fd(tree).resolve("canary", false).is_err());
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn the_kernels_own_words_are_in_the_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = overlay(dir.path());
        mount.data.push(MountOption::flag("nonsense"));
        let error = mount.detached().unwrap_err();
        assert_eq!(error.errno, Errno::INVAL);
        assert!(error.to_string().contains("nonsense"), "{error}");
    }

    #[test]
    fn a_readonly_bind_refuses_writes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&to).unwrap();
        let mut mount = Mount::bind(&from, "");
        mount.flags |= MountFlags::READONLY;
        let _guard = mount.attach(&to).unwrap();
        let error = std::fs::write(to.join("f"), "x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }
}
