//! A process's output as log events: whole lines where it writes lines, and what there is of a line that lasts.

use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use crate::flight::Crowd;
use crate::progress::{EventKind, LogStream, Reporter};

/// Bytes read at once.
const BUFFER: usize = 16 << 10;
/// A line longer than this is passed on in pieces.
const MAX_LINE: usize = 64 << 10;
/// A line that does not grow for so long is passed on as far as it is: a question, or a row of dots.
const LASTS: Duration = Duration::from_millis(100);

/// Passes on what comes out of `pipe`, to its end. All of it: whoever watches may make the process wait, but never
/// misses the line that matters (BuildKit clips a step's log at 2 MiB).
pub(super) async fn pass_on(pipe: PipeReader, stream: LogStream, crowd: &Crowd) {
    let Ok(mut pipe) = Receiver::from_owned_fd(OwnedFd::from(pipe)) else { return };
    let mut lines = Lines::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = pipe.read(&mut buffer);
        let read = match lines.open.is_empty() {
            true => Ok(read.await),
            // Reading is given up before it took anything.
            false => tokio::time::timeout(LASTS, read).await,
        };
        let (bytes, ended) = match read {
            Err(_) => (std::mem::take(&mut lines.open), false),
            Ok(Ok(0) | Err(_)) => (std::mem::take(&mut lines.open), true),
            Ok(Ok(count)) => (lines.take(&buffer[..count]), false),
        };
        if !bytes.is_empty() {
            crowd.report(EventKind::Log { stream, bytes });
        }
        if ended {
            return;
        }
    }
}

/// Collects bytes until a line is whole.
#[derive(Default)]
struct Lines {
    open: Vec<u8>,
}

impl Lines {
    /// The whole lines up to and with `bytes`, and the states of one that begins again with each carriage return; empty
    /// while none is.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.open.extend_from_slice(bytes);
        let end = self.open.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')).map(|last| last + 1);
        let end = end.unwrap_or(if self.open.len() >= MAX_LINE { self.open.len() } else { 0 });
        let rest = self.open.split_off(end);
        std::mem::replace(&mut self.open, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_whole() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"a"), b"");
        assert_eq!(lines.take(b"b\nc\nd"), b"ab\nc\n");
        assert_eq!(lines.open, b"d");
        assert_eq!(lines.take(b"1%\r2"), b"d1%\r");
    }

    #[test]
    fn a_line_without_end_is_passed_on_in_pieces() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(&vec![b'x'; MAX_LINE]).len(), MAX_LINE);
        assert_eq!(lines.open.len(), 0);
    }
}
