//! A process's output as log events, whole lines where it writes lines.

use std::io::PipeReader;
use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use crate::flight::Crowd;
use crate::progress::{EventKind, LogStream, Reporter};

/// Bytes read at once.
const BUFFER: usize = 16 << 10;
/// A line longer than this is passed on in pieces.
const MAX_LINE: usize = 64 << 10;
/// The most bytes of one stream of one step that are passed on.
pub(super) const LOG_LIMIT: u64 = 64 << 20;

/// Passes on what comes out of `pipe`, to its end. What is beyond the limit is read and dropped, so that the process
/// does not block.
pub(super) async fn pass_on(pipe: PipeReader, stream: LogStream, crowd: &Crowd) {
    let Ok(mut pipe) = Receiver::from_owned_fd(OwnedFd::from(pipe)) else { return };
    let mut lines = Lines::new(LOG_LIMIT);
    let mut buffer = vec![0; BUFFER];
    loop {
        let bytes = match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => lines.rest(),
            Ok(count) => lines.take(&buffer[..count]),
        };
        let ended = bytes.is_none();
        if let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) {
            crowd.report(EventKind::Log { stream, bytes });
        }
        if ended || lines.ended {
            return;
        }
    }
}

/// Collects bytes until a line is whole.
struct Lines {
    open: Vec<u8>,
    left: u64,
    clipped: bool,
    ended: bool,
}

impl Lines {
    fn new(limit: u64) -> Lines {
        Lines { open: Vec::new(), left: limit, clipped: false, ended: false }
    }

    /// The whole lines up to and with `bytes`; empty while none is.
    fn take(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.clipped {
            return Some(Vec::new());
        }
        let taken = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= taken as u64;
        self.open.extend_from_slice(&bytes[..taken]);
        if taken < bytes.len() {
            self.clipped = true;
            let notice = format!("\n[output clipped, log limit of {} MiB reached]\n", LOG_LIMIT >> 20);
            self.open.extend_from_slice(notice.as_bytes());
        }
        let end = self.open.iter().rposition(|byte| *byte == b'\n').map(|newline| newline + 1);
        let end = end.unwrap_or(if self.open.len() >= MAX_LINE { self.open.len() } else { 0 });
        let rest = self.open.split_off(end);
        Some(std::mem::replace(&mut self.open, rest))
    }

    /// What is left when the stream has ended.
    fn rest(&mut self) -> Option<Vec<u8>> {
        self.ended = true;
        Some(std::mem::take(&mut self.open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_whole() {
        let mut lines = Lines::new(LOG_LIMIT);
        assert_eq!(lines.take(b"a").unwrap(), b"");
        assert_eq!(lines.take(b"b\nc\nd").unwrap(), b"ab\nc\n");
        assert_eq!(lines.rest().unwrap(), b"d");
    }

    #[test]
    fn a_line_without_end_is_passed_on_in_pieces() {
        let mut lines = Lines::new(LOG_LIMIT);
        assert_eq!(lines.take(&vec![b'x'; MAX_LINE]).unwrap().len(), MAX_LINE);
    }

    #[test]
    fn too_much_is_clipped_with_a_notice() {
        let mut lines = Lines::new(4);
        let first = lines.take(b"abcdef").unwrap();
        assert!(first.starts_with(b"abcd\n[output clipped"), "{first:?}");
        assert_eq!(lines.take(b"more\n").unwrap(), b"");
    }
}
