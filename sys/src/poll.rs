//! Waiting for several descriptors at once, in both directions.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll as poll_once};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// A descriptor and what is awaited of it.
#[derive(Clone, Copy, Debug)]
pub struct Interest<'a> {
    /// The descriptor.
    pub fd: BorrowedFd<'a>,
    /// Whether it is to be read.
    pub read: bool,
    /// Whether it is to be written.
    pub write: bool,
}

/// What a descriptor is ready for. One that is hung up or broken is ready for everything: the next call says why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// A read does not block.
    pub read: bool,
    /// A write does not block.
    pub write: bool,
}

/// Waits until one descriptor is ready or the time is over.
pub fn poll(interests: &[Interest<'_>], timeout: Option<Duration>) -> Result<Vec<Ready>> {
    let mut polls: Vec<_> =
        interests.iter().map(|interest| PollFd::from_borrowed_fd(interest.fd, flags(interest))).collect();
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left
            .map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) });
        match poll_once(&mut polls, left.as_ref()) {
            Ok(_) => return Ok(polls.iter().map(|poll| ready(poll.revents())).collect()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new("poll", "descriptors", errno)),
        }
    }
}

fn flags(interest: &Interest<'_>) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, interest.read);
    flags.set(PollFlags::OUT, interest.write);
    flags
}

fn ready(flags: PollFlags) -> Ready {
    let broken = flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
    Ready { read: broken || flags.contains(PollFlags::IN), write: broken || flags.contains(PollFlags::OUT) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn readiness_in_both_directions() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let read = Interest { fd: reader.as_fd(), read: true, write: false };
        let zero = Some(Duration::ZERO);
        assert_eq!(poll(&[read], zero).unwrap(), [Ready::default()]);
        let write = Interest { fd: writer.as_fd(), read: false, write: true };
        assert!(poll(&[read, write], zero).unwrap()[1].write);
        writer.write_all(b"x").unwrap();
        assert!(poll(&[read], zero).unwrap()[0].read);
    }
}
