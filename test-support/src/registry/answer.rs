//! Answers and the bodies they carry, whole, slow or broken.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::{Response, StatusCode};
use tokio::time::Sleep;

pub(super) type Answer = Response<Pieces>;

/// A body in pieces, with a pause before each but the first, and at last maybe a broken connection.
#[derive(Debug)]
pub(super) struct Pieces {
    rest: Bytes,
    piece: usize,
    pause: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
    cut: Option<usize>,
    flushed: bool,
    sent: usize,
}

/// What was sent before a connection breaks gets so long to leave.
const FLUSH: Duration = Duration::from_millis(20);

impl Pieces {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Pieces {
            piece: bytes.len().clamp(1, 1 << 20),
            rest: bytes,
            pause: None,
            sleep: None,
            cut: None,
            flushed: false,
            sent: 0,
        }
    }

    /// The same, `piece` bytes at a time with a pause between.
    pub(super) fn slow(self, piece: usize, pause: Duration) -> Self {
        Pieces { piece, pause: Some(pause), ..self }
    }

    /// The same, with the connection broken after `after` bytes.
    pub(super) fn cut(self, after: usize) -> Self {
        Pieces { piece: self.piece.min(1 << 16), cut: Some(after), ..self }
    }

    /// The same bytes but the last, which is another.
    pub(super) fn altered(mut self) -> Self {
        let mut bytes = self.rest.to_vec();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        self.rest = bytes.into();
        self
    }

    /// The first `len` bytes.
    pub(super) fn shortened(mut self, len: usize) -> Self {
        self.rest.truncate(len);
        self
    }

    /// The same and `extra` zeros more.
    pub(super) fn lengthened(mut self, extra: usize) -> Self {
        self.rest = [&self.rest[..], &vec![0; extra]].concat().into();
        self
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(sleep) = &mut self.sleep {
            std::task::ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        if self.cut.is_some_and(|cut| self.sent >= cut) {
            if !self.flushed {
                self.flushed = true;
                self.sleep = Some(Box::pin(tokio::time::sleep(FLUSH)));
                return self.poll_frame(cx);
            }
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
        }
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let left = self.cut.map_or(usize::MAX, |cut| cut - self.sent);
        let n = self.piece.min(self.rest.len()).min(left);
        let piece = self.rest.split_to(n);
        self.sent += n;
        self.sleep = self.pause.map(|pause| Box::pin(tokio::time::sleep(pause)));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Pieces::whole(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        let name = hyper::header::HeaderName::try_from(*name).expect("a header name");
        response.headers_mut().append(name, value.parse().expect("a header value"));
    }
    response
}

/// An answer with distribution-spec's error document.
pub(super) fn failure(status: u16, code: &str) -> Answer {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"as the test wants it"}}]}}"#);
    answer(status, &[("content-type", "application/json")], body)
}
