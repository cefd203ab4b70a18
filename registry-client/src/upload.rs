//! One blob's upload: whole in one request, and where that fails in chunks from where the registry got to.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::Descriptor;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, RANGE};
use reqwest::{Method, Response, Url};

use crate::body::SourceBody;
use crate::error::{Error, ErrorKind, Result};
use crate::push::{BlobSource, location, start_upload};
use crate::retry::{Attempts, Cause};
use crate::session::Session;
use crate::transport::{Body, Request};

/// Bytes in a chunk, unless the registry wants more; so many are held in memory.
const CHUNK: u64 = 16 << 20;
/// The largest chunk that a registry may want.
const MAX_CHUNK: u64 = 256 << 20;

/// An upload that was started.
pub(crate) struct Upload<'a> {
    session: &'a Session,
    descriptor: &'a Descriptor,
    source: Arc<dyn BlobSource>,
    location: Url,
    chunk: u64,
}

impl<'a> Upload<'a> {
    pub(crate) fn new(
        session: &'a Session,
        descriptor: &'a Descriptor,
        source: Arc<dyn BlobSource>,
        location: Url,
    ) -> Self {
        Upload { session, descriptor, source, location, chunk: CHUNK }
    }

    /// Sends the blob.
    pub(crate) async fn run(self) -> Result<()> {
        let body = SourceBody::new(Arc::clone(&self.source), Some(self.descriptor.size));
        let request = self.end_request().body(Body::Source(body));
        self.end_by(&request).await
    }

    /// Ends an upload whose bytes were all sent.
    pub(crate) async fn end(self) -> Result<()> {
        let request = self.end_request();
        self.end_by(&request).await
    }

    /// Sends the request that ends the upload; where that fails, sends what the registry lacks and ends it again.
    async fn end_by(mut self, request: &Request) -> Result<()> {
        // One attempt only: a second would send again what the registry may have.
        match self.once(request).await {
            Ok(answer) if answer.status().is_success() => self.check(request, answer.headers()),
            Ok(answer) if matches!(answer.status().as_u16(), 400 | 404 | 405 | 411 | 413 | 416 | 500..) => {
                let error = request.rejected(answer).await;
                self.in_chunks(error).await
            }
            Ok(answer) => Err(request.rejected(answer).await),
            Err(error) if error.kind == ErrorKind::Unavailable => self.in_chunks(error).await,
            Err(error) => Err(error),
        }
    }

    /// Goes on where the registry got to before `error`.
    pub(crate) async fn resume(mut self, error: Error) -> Result<()> {
        self.in_chunks(error).await
    }

    async fn once(&self, request: &Request) -> Result<Response> {
        self.session.clone().impatient().send(request).await
    }

    /// Goes on chunk by chunk; gives up with `error` where the registry knows nothing of chunks either.
    async fn in_chunks(&mut self, mut error: Error) -> Result<()> {
        let limits = &self.session.shared.transport.limits;
        let mut attempts = Attempts::new(true);
        loop {
            let again = error.kind == ErrorKind::Unavailable;
            let pause = attempts.next(Cause::Broken, limits).filter(|_| again || attempts.is_first());
            let Some(pause) = pause else { return Err(error) };
            tokio::time::sleep(pause).await;
            let before = self.offset().await?;
            match self.send_from(before).await {
                Ok(()) => return Ok(()),
                Err((sent, next)) => {
                    if sent > before {
                        attempts.progress();
                    }
                    error = next;
                }
            }
        }
    }

    /// How much the registry has; a new upload where it has forgotten this one.
    async fn offset(&mut self) -> Result<u64> {
        let request = Request::new(Method::GET, self.location.clone());
        let answer = self.session.send(&request).await?;
        if answer.status().is_success() {
            let offset = next_offset(answer.headers(), self.descriptor.size);
            self.go_on(&request, &answer)?;
            return Ok(offset);
        }
        self.location = start_upload(self.session).await?;
        Ok(0)
    }

    /// Sends all from `offset` on; a failure tells how far it came.
    async fn send_from(&mut self, mut offset: u64) -> Result<(), (u64, Error)> {
        let mut reader = Chunks::open(Arc::clone(&self.source), offset).await.map_err(|e| (offset, e))?;
        while offset < self.descriptor.size {
            let want = self.chunk.min(self.descriptor.size - offset);
            let chunk = reader.next(want).await.map_err(|error| (offset, error))?;
            offset = self.send_chunk(offset, chunk).await.map_err(|error| (offset, error))?;
        }
        let request = self.end_request();
        let answer =
            self.session.expect(&request, &[200, 201, 204]).await.map_err(|error| (offset, error))?;
        self.check(&request, answer.headers()).map_err(|error| (offset, error))
    }

    async fn send_chunk(&mut self, offset: u64, chunk: Bytes) -> Result<u64> {
        let end = offset + chunk.len() as u64;
        let request = Request::new(Method::PATCH, self.location.clone())
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_RANGE, &format!("{offset}-{}", end - 1))
            .body(Body::Bytes(chunk));
        let answer = self.once(&request).await?;
        if answer.status().as_u16() == 416 {
            let error = request.rejected(answer).await;
            return Err(Error { kind: ErrorKind::Unavailable, ..error });
        }
        if !answer.status().is_success() {
            return Err(request.rejected(answer).await);
        }
        self.go_on(&request, &answer)?;
        Ok(end)
    }

    /// Takes over where to send next, and how large chunks must be.
    fn go_on(&mut self, request: &Request, answer: &Response) -> Result<()> {
        let least =
            answer.headers().get("oci-chunk-min-length").and_then(|value| value.to_str().ok()?.parse().ok());
        self.chunk = self.chunk.max(least.unwrap_or(0)).min(MAX_CHUNK);
        if answer.headers().contains_key(reqwest::header::LOCATION) {
            self.location = location(request, answer)?;
        }
        Ok(())
    }

    /// The request that ends the upload, without a body.
    fn end_request(&self) -> Request {
        let mut url = self.location.clone();
        url.query_pairs_mut().append_pair("digest", self.descriptor.digest.as_str());
        Request::new(Method::PUT, url).header(CONTENT_TYPE, "application/octet-stream")
    }

    fn check(&self, request: &Request, headers: &HeaderMap) -> Result<()> {
        let told = crate::resolve::told_digest(request, headers)?;
        match told.filter(|told| told.algorithm() == self.descriptor.digest.algorithm()) {
            Some(told) if told != self.descriptor.digest => {
                let message = format!("the registry stored `{told}`, not `{}`", self.descriptor.digest);
                Err(request.error(ErrorKind::Corrupt, message))
            }
            _ => Ok(()),
        }
    }
}

/// The first byte the registry lacks. `0-0` stands for nothing or for one byte; taken as nothing, a byte that is
/// there is refused with `416` and asked for again.
fn next_offset(headers: &HeaderMap, size: u64) -> u64 {
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let last =
        range.and_then(|range| range.trim_start_matches("bytes=").split_once('-')?.1.parse::<u64>().ok());
    last.filter(|last| *last > 0 && *last < size).map_or(0, |last| last + 1)
}

/// A source read in chunks on blocking threads.
struct Chunks(Option<Box<dyn Read + Send>>);

impl Chunks {
    async fn open(source: Arc<dyn BlobSource>, offset: u64) -> Result<Self> {
        let open = move || {
            let mut reader = source.open()?;
            let skipped = std::io::copy(&mut reader.by_ref().take(offset), &mut std::io::sink())?;
            if skipped < offset { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(reader) }
        };
        blocking(open).await.map(|reader| Chunks(Some(reader)))
    }

    async fn next(&mut self, len: u64) -> Result<Bytes> {
        let reader = self.0.take();
        let read = move || {
            let mut reader = reader.ok_or(std::io::ErrorKind::UnexpectedEof)?;
            let mut chunk = Vec::with_capacity(len as usize);
            reader.by_ref().take(len).read_to_end(&mut chunk)?;
            let complete = chunk.len() as u64 == len;
            if complete { Ok((reader, chunk)) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
        };
        let (reader, chunk) = blocking(read).await?;
        self.0 = Some(reader);
        Ok(chunk.into())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let done =
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    done.map_err(|error| {
        Error::without_request(ErrorKind::Local, "cannot read what is to be sent").with_source(error)
    })
}
