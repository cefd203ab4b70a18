//! Request bodies that are read from blocking sources.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::push::BlobSource;
use crate::transport::Progress;

/// Bytes read at once.
const CHUNK: usize = 256 << 10;
/// Chunks read ahead of the network.
const AHEAD: usize = 4;

/// A source as a body; opened anew for each attempt.
#[derive(Clone)]
pub(crate) struct SourceBody {
    source: Arc<dyn BlobSource>,
    /// How many bytes it has; `None` of one that is still being made, which is sent to its end.
    pub(crate) len: Option<u64>,
    error: Arc<Mutex<Option<io::Error>>>,
}

impl SourceBody {
    pub(crate) fn new(source: Arc<dyn BlobSource>, len: Option<u64>) -> Self {
        SourceBody { source, len, error: Arc::default() }
    }

    /// The source's own failure, if that is why a request failed.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn open(&self, progress: Progress) -> reqwest::Body {
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(AHEAD);
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.feed(&sender));
        reqwest::Body::wrap_stream(futures_util::stream::unfold(
            (receiver, progress),
            |(mut receiver, progress)| async {
                let chunk = receiver.recv().await?;
                progress.add(chunk.as_ref().map_or(0, Bytes::len));
                Some((chunk, (receiver, progress)))
            },
        ))
    }

    /// Reads until the end, or until nobody listens any more.
    fn feed(&self, sender: &mpsc::Sender<io::Result<Bytes>>) {
        let send = |chunk| sender.blocking_send(Ok(chunk)).is_ok();
        if let Err(error) = self.source.open().and_then(|reader| read_all(reader, self.len, send)) {
            *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            // The receiver may be gone too, when the connection broke at the same time.
            let _ = sender.blocking_send(Err(io::ErrorKind::BrokenPipe.into()));
        }
    }
}

impl std::fmt::Debug for SourceBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceBody").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Hands all bytes to `send` in chunks; where there must be `len` of them, more or fewer are an error.
fn read_all(mut reader: impl Read, len: Option<u64>, send: impl Fn(Bytes) -> bool) -> io::Result<()> {
    let mut count = 0;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        reader.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        count += chunk.len() as u64;
        let is_end = chunk.is_empty();
        if let Some(len) = len.filter(|len| count > *len || is_end && count < *len) {
            let message = format!("the content is not {len} bytes long");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        if is_end || !send(chunk.into()) {
            return Ok(());
        }
    }
}
