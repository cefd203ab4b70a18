//! What `git` writes while it works: how far it has come, and what it complains about.

use kiln_graph::url::redact;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::progress::{EventKind, Reporter, Transfer};

/// Bytes read at once.
const BUFFER: usize = 4 << 10;
/// The most bytes of complaints that are read.
const MAX_COMPLAINTS: usize = 256 << 10;

/// Tells a reporter how many bytes of a repository have come.
pub(super) struct Received<'a> {
    reporter: &'a dyn Reporter,
    remote: String,
    current: u64,
}

impl<'a> Received<'a> {
    /// Nothing yet of `remote`.
    pub(super) fn new(reporter: &'a dyn Reporter, remote: &str) -> Self {
        Received { reporter, remote: redact(remote), current: 0 }
    }

    fn line(&mut self, line: &str) {
        if let Some(bytes) = bytes(line) {
            self.current = bytes;
            self.report(line.ends_with("done."));
        }
    }

    fn report(&self, done: bool) {
        let (item, current) = (self.remote.clone(), self.current);
        let transfer = Transfer { item, action: "fetching", current, total: None, done };
        self.reporter.report(EventKind::Transfer(transfer));
    }
}

/// Reads what a command complains about, to its end; lines on how far it is go to `received`. `None` where it says too
/// much.
pub(super) async fn complaints(
    from: Option<impl AsyncRead + Unpin>,
    mut received: Option<&mut Received<'_>>,
) -> std::io::Result<Option<Vec<u8>>> {
    let (mut kept, mut open, mut buffer) = (Vec::new(), Vec::new(), vec![0; BUFFER]);
    let Some(mut from) = from else { return Ok(Some(kept)) };
    loop {
        let count = from.read(&mut buffer).await?;
        open.extend_from_slice(&buffer[..count]);
        while let Some(end) = open.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let rest = open.split_off(end + 1);
            let line = std::mem::replace(&mut open, rest);
            let text = String::from_utf8_lossy(&line);
            match &mut received {
                Some(received) if is_progress(&text) => received.line(text.trim()),
                _ => kept.extend(line),
            }
        }
        if kept.len() + open.len() > MAX_COMPLAINTS {
            return Ok(None);
        }
        if count == 0 {
            kept.extend(open);
            return Ok(Some(kept));
        }
    }
}

/// `Receiving objects:  45% (450/1000)…`, `remote: Enumerating objects: 9, done.`
fn is_progress(line: &str) -> bool {
    line.contains("% (") || line.trim_end().ends_with(", done.")
}

/// The bytes in `Receiving objects:  45% (450/1000), 1.20 MiB | 2.30 MiB/s`.
fn bytes(line: &str) -> Option<u64> {
    let (_, rest) = line.strip_prefix("Receiving objects:")?.split_once("), ")?;
    let amount = rest.split(" | ").next()?;
    let (number, unit) = amount.split_once(' ')?;
    let factor = match unit {
        "bytes" => 1u64,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    Some((number.parse::<f64>().ok()? * factor as f64) as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Seen(Mutex<Vec<(u64, bool)>>);

    impl Reporter for Seen {
        fn report(&self, kind: EventKind) {
            if let EventKind::Transfer(transfer) = kind {
                self.0.lock().unwrap().push((transfer.current, transfer.done));
            }
        }
    }

    #[tokio::test]
    async fn progress_and_complaints_are_told_apart() {
        let said = "remote: Enumerating objects: 9, done.\nremote: Compressing objects:  50% (1/2)\r\
                    Receiving objects:  11% (1/9)\rReceiving objects:  45% (4/9), 512 bytes | 1.00 KiB/s\r\
                    Receiving objects: 100% (9/9), 1.50 MiB | 2.30 MiB/s, done.\n\
                    Resolving deltas: 100% (2/2), done.\nremote: Repository not found.\nfatal: no end";
        let seen = Seen(Mutex::default());
        let mut received = Received::new(&seen, "https://user:secret@host/r.git");
        let kept = complaints(Some(said.as_bytes()), Some(&mut received)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(kept).unwrap(), "remote: Repository not found.\nfatal: no end");
        assert_eq!(*seen.0.lock().unwrap(), [(512, false), (3 << 19, true)]);
        assert!(!received.remote.contains("secret"));
    }

    #[tokio::test]
    async fn too_many_complaints_are_refused() {
        let said = "x".repeat(MAX_COMPLAINTS + 1);
        assert_eq!(complaints(Some(said.as_bytes()), None).await.unwrap(), None);
    }
}
