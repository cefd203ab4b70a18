//! Descriptors: passing them over sockets, and making sure none leaks.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::error::{Context, Result, last_errno};

/// The most descriptors one message carries.
pub const MESSAGE_FDS_MAX: usize = 8;

/// Sends `bytes` with descriptors over a unix socket.
pub fn send_fds(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(rustix::io::Errno::TOOBIG).on("sendmsg", "descriptors");
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).on("sendmsg", "a socket")
}

/// Receives bytes and descriptors from a unix socket; the descriptors are close-on-exec.
pub fn recv_fds(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .on("recvmsg", "a socket")?;
    let mut fds = Vec::new();
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = item {
            fds.extend(rights);
        }
    }
    Ok((message.bytes, fds))
}

/// Opens `/dev/null` for reading and writing.
pub fn open_null() -> Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()).on("open", "/dev/null")
}

/// The same open file under a number above the standard ones.
pub fn above_stdio(fd: OwnedFd) -> Result<OwnedFd> {
    if std::os::fd::AsRawFd::as_raw_fd(&fd) > 2 {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, 3).on("fcntl", "a descriptor")
}

/// A copy that programs executed by this process inherit.
pub fn inheritable_copy(fd: &impl std::os::fd::AsFd) -> Result<OwnedFd> {
    rustix::io::dup(fd).on("dup", "a descriptor")
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn cloexec_from(first: u32) -> Result<()> {
    // SAFETY: only sets a flag on descriptors; none is closed.
    let result = unsafe { libc::close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) };
    if result == 0 { Ok(()) } else { Err(last_errno()).on("close_range", "all descriptors") }
}

/// Takes standard input over: gives what it was, and leaves `/dev/null` in its place.
pub fn take_stdin() -> Result<OwnedFd> {
    let input = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).on("fcntl", "standard input")?;
    rustix::stdio::dup2_stdin(open_null()?).on("dup2", "standard input")?;
    Ok(input)
}

/// Takes over `count` descriptors from `first` on that whoever started us left open, and marks them close-on-exec.
///
/// They were open before this program began, so nobody else of it knows them; a second call gives nothing.
pub fn take_inherited(first: i32, count: u32) -> Result<Vec<OwnedFd>> {
    use std::os::fd::{BorrowedFd, FromRawFd};
    use std::sync::atomic::{AtomicBool, Ordering};
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    let numbers = first..first.saturating_add_unsigned(count);
    for number in numbers.clone() {
        // SAFETY: only asked whether it is open, which fails where it is not; nothing is kept.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC)
            .on("fcntl", "an inherited descriptor")?;
    }
    // SAFETY: each is open, as was just asked; it was before this program was, and is taken once, so nobody else owns it.
    Ok(numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect())
}

/// Makes reads and writes on a descriptor fail instead of waiting.
pub fn set_nonblocking(fd: impl std::os::fd::AsFd) -> Result<()> {
    rustix::io::ioctl_fionbio(fd, true).on("ioctl", "FIONBIO")
}

/// Whether something that was written to a unix socket has not been read at its other end.
pub fn is_unread(socket: impl std::os::fd::AsFd) -> Result<bool> {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one integer, which outlives the call.
    let result = unsafe {
        libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket.as_fd()), libc::TIOCOUTQ, &raw mut count)
    };
    if result == 0 { Ok(count > 0) } else { Err(last_errno()).on("ioctl TIOCOUTQ", "a socket") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn what_is_written_is_unread_until_it_is_read() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        assert!(!is_unread(&here).unwrap());
        here.write_all(b"head").unwrap();
        assert!(is_unread(&here).unwrap());
        there.read_exact(&mut [0; 4]).unwrap();
        assert!(!is_unread(&here).unwrap());
    }

    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_travels() {
        let (left, right) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"hello").unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        send_fds(left.as_fd(), b"x", &[file.as_fd()]).unwrap();
        let mut byte = [0; 1];
        let (n, fds) = recv_fds(right.as_fd(), &mut byte).unwrap();
        assert_eq!((n, fds.len()), (1, 1));
        let mut text = String::new();
        std::fs::File::from(fds.into_iter().next().unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }
}
