//! The daemon's unix socket: made so that nobody gets in before its mode is set, and taken away at the end.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{self as unix, DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::{Owner, ServeError};

/// Owner and group may connect.
const MODE: u32 = 0o660;
/// Whoever can open the lock can hold it, and keep us from starting.
const LOCK_MODE: u32 = 0o600;
/// A folder that is made for the socket lets everybody through to it, and shows nobody what is in it.
const FOLDER_MODE: u32 = 0o711;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A listening unix socket; its file goes with the value.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    /// What removes the file.
    pub(super) file: SocketFile,
}

/// The file of a socket that is ours. Its lock says so to other daemons, and ends with this process however it ends.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
    _lock: File,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // What somebody else has put there meanwhile stays.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`, as a socket of `owner`'s. What a daemon that died left there is replaced; one that lives is an error.
pub(super) fn listen(path: &Path, owner: Owner) -> Result<Socket, ServeError> {
    let fail =
        |source: io::Error| ServeError::Listen { address: format!("unix://{}", path.display()), source };
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(fail)?;
    }
    let lock = lock(path).map_err(fail)?.ok_or_else(|| ServeError::Taken(path.to_owned()))?;
    if UnixStream::connect(path).is_ok() {
        return Err(ServeError::Taken(path.to_owned()));
    }
    remove_stale(path).map_err(fail)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let bound =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).and_then(|socket| {
            SocketAddrUnix::new(path)
                .and_then(|address| rustix::net::bind(&socket, &address))
                .map(|()| socket)
        });
    let socket: OwnedFd = bound.map_err(|errno| fail(errno.into()))?;
    // Nobody can connect before `listen`, so nobody ever sees another mode or owner.
    unix::lchown(path, owner.uid, owner.gid).map_err(fail)?;
    fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(fail)?;
    let inode = fs::symlink_metadata(path).map_err(fail)?.ino();
    rustix::net::listen(&socket, BACKLOG).map_err(|errno| fail(errno.into()))?;
    let file = SocketFile { path: path.to_owned(), inode, _lock: lock };
    Ok(Socket { listener: UnixListener::from(socket), file })
}

/// The lock beside a socket; `None` where another daemon has it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options().write(true).create(true).truncate(false).mode(LOCK_MODE).open(name)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Removes a socket that nobody answers at; anything else that is there is not ours to remove.
fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::other("there is a file that is not a socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let name = format!("kiln-socket-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_dead_daemons_socket_is_replaced_and_a_live_ones_is_not() {
        let folder = folder();
        let path = folder.join("new/kiln.sock");
        let first = listen(&path, Owner::default()).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o7777, MODE);
        assert!(matches!(listen(&path, Owner::default()), Err(ServeError::Taken(_))));
        // A daemon that was killed leaves its file and no lock.
        let Socket { listener, file } = first;
        drop(listener);
        std::mem::forget(file);
        let stale = folder.join("new/stale.sock");
        drop(UnixListener::bind(&stale).unwrap());
        let second = listen(&stale, Owner::default()).unwrap();
        UnixStream::connect(&stale).unwrap();
        drop(second);
        assert!(!stale.exists(), "the file goes with the listener");
        // Somebody else's daemon has no lock of ours.
        let foreign = folder.join("foreign.sock");
        let _alive = UnixListener::bind(&foreign).unwrap();
        assert!(matches!(listen(&foreign, Owner::default()), Err(ServeError::Taken(_))));
        let plain = folder.join("plain");
        fs::write(&plain, "data").unwrap();
        assert!(matches!(listen(&plain, Owner::default()), Err(ServeError::Listen { .. })));
        assert_eq!(fs::read(&plain).unwrap(), b"data");
        fs::remove_dir_all(&folder).unwrap();
    }
}
