//! Bytes between blocking code and HTTP: a body that is written to, and a body that is read from.

use std::io::{self, Read, Write};

use axum::body::{Body, Bytes};
use futures_util::{StreamExt as _, stream};
use kiln_engine::attach::Stream;
use tokio::sync::mpsc;

/// Pieces that wait on their way.
const DEPTH: usize = 16;
/// Bytes that are put together before they are sent.
const PIECE: usize = 32 << 10;
/// The header of a piece of a stream that has standard output and standard error.
pub(crate) const FRAME_HEADER: usize = 8;

/// What arrives at the other side of a channel, as a body. An error cuts the connection, so that nobody takes a part for
/// the whole.
pub(crate) fn body(receiver: mpsc::Receiver<io::Result<Bytes>>) -> Body {
    Body::from_stream(stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece| (piece, receiver))
    }))
}

/// The same, with something that is dropped when whoever reads goes away, or at the end.
pub(crate) fn guarded(receiver: mpsc::Receiver<io::Result<Bytes>>, guard: impl Send + 'static) -> Body {
    Body::from_stream(stream::unfold((receiver, guard), |(mut receiver, guard)| async {
        receiver.recv().await.map(|piece| (piece, (receiver, guard)))
    }))
}

/// A way into a body.
pub(crate) fn channel() -> (mpsc::Sender<io::Result<Bytes>>, Body) {
    let (sender, receiver) = mpsc::channel(DEPTH);
    (sender, body(receiver))
}

/// Writes into a body from a thread that may block. Fails when whoever reads has gone away.
#[derive(Debug)]
pub(crate) struct BodyWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl BodyWriter {
    pub(crate) fn new(sender: mpsc::Sender<io::Result<Bytes>>) -> BodyWriter {
        BodyWriter { sender, buffer: Vec::with_capacity(PIECE) }
    }
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Reads a request's body from a thread that may block.
#[derive(Debug)]
pub(crate) struct BodyReader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl BodyReader {
    /// Reads `body`, which arrives as it is read.
    pub(crate) fn new(body: Body) -> BodyReader {
        let (sender, receiver) = mpsc::channel(DEPTH);
        tokio::spawn(async move {
            let mut pieces = body.into_data_stream();
            while let Some(piece) = pieces.next().await {
                if sender.send(piece.map_err(io::Error::other)).await.is_err() {
                    return;
                }
            }
        });
        BodyReader { receiver, piece: Bytes::new() }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

/// Some output with the header that tells its stream (1 or 2) and its length in network order.
pub(crate) fn frame(stream: Stream, bytes: &[u8]) -> Vec<u8> {
    let kind = match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    };
    let mut framed = Vec::with_capacity(FRAME_HEADER + bytes.len());
    framed.extend_from_slice(&[kind, 0, 0, 0]);
    framed.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    framed.extend_from_slice(bytes);
    framed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_tells_stream_and_length() {
        assert_eq!(frame(Stream::Stderr, b"abc"), b"\x02\0\0\0\0\0\0\x03abc");
        assert_eq!(frame(Stream::Stdout, b""), b"\x01\0\0\0\0\0\0\0");
    }

    #[tokio::test]
    async fn what_is_written_is_read_in_order() {
        let (sender, body) = channel();
        let mut reader = BodyReader::new(body);
        let writer = std::thread::spawn(move || {
            let mut writer = BodyWriter::new(sender);
            (0..100_000_u32).try_for_each(|number| writer.write_all(&number.to_be_bytes()))?;
            writer.flush()
        });
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        });
        let bytes = read.await.unwrap().unwrap();
        writer.join().unwrap().unwrap();
        assert!(bytes.chunks(4).map(|four| u32::from_be_bytes(four.try_into().unwrap())).eq(0..100_000));
    }
}
