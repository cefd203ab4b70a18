//! A connection that has to begin: which HTTP is spoken shows in its first bytes, and until they are there nothing else
//! has a limit of time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The bytes by which HTTP/2 begins (RFC 9113, section 3.4); any request of HTTP/1.1 that begins otherwise is seen before.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose first bytes come in time or never.
pub(crate) struct Patient<S> {
    io: S,
    /// Cleared once it has begun.
    limit: Option<Pin<Box<Sleep>>>,
    /// The bytes of the preface that came.
    seen: usize,
}

impl<S> Patient<S> {
    pub(super) fn new(io: S, limit: Duration) -> Patient<S> {
        Patient { io, limit: Some(Box::pin(sleep(limit))), seen: 0 }
    }

    /// The connection itself.
    pub(crate) fn into_inner(self) -> S {
        self.io
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(limit) = &mut this.limit else { return Pin::new(&mut this.io).poll_read(context, buffer) };
        let before = buffer.filled().len();
        if limit.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
        let came = &buffer.filled()[before..];
        let rest = &PREFACE[this.seen..];
        this.seen += came.len().min(rest.len());
        if !rest.starts_with(&came[..came.len().min(rest.len())]) || this.seen == PREFACE.len() {
            this.limit = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    /// What comes of `sent`, then silence.
    async fn after(sent: &[u8]) -> io::Result<usize> {
        let (mut client, server) = duplex(1024);
        let mut server = Patient::new(server, LIMIT);
        client.write_all(sent).await.unwrap();
        let mut buffer = vec![0; 1024];
        let mut came = 0;
        while came < sent.len() {
            came += server.read(&mut buffer).await?;
        }
        match tokio::time::timeout(2 * LIMIT, server.read(&mut buffer)).await {
            Ok(read) => read,
            // It is somebody else's to wait or not.
            Err(_) => Ok(came),
        }
    }

    #[tokio::test]
    async fn half_a_preface_is_waited_for_so_long() {
        assert!(after(b"").await.is_err());
        assert!(after(b"PRI * HTTP/2.0").await.is_err());
        assert!(after(&PREFACE[..23]).await.is_err());
        assert!(after(PREFACE).await.is_ok());
        assert!(after(b"POST /build HTTP/1.1\r\n").await.is_ok());
        assert!(after(&[PREFACE, b"more"].concat()).await.is_ok());
    }
}
