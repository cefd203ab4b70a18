//! Blobs on their way in.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::{BoxStream, StreamExt, unfold};
use kiln_oci::verify::Verifier;
use kiln_oci::{Descriptor, Digest};
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, Response};

use crate::error::{Error, ErrorKind, Result};
use crate::resolve::corrupt;
use crate::retry::{Attempts, Cause, MIRROR_REST};
use crate::session::Session;
use crate::transport::{Request, stalled};

/// Fewer bytes than this within the stall timeout are no progress: a trickle is a stall too.
const MIN_PROGRESS: usize = 8 << 10;

/// A blob's bytes as they arrive; size and digest are verified when the last one has.
///
/// A connection that breaks or stalls is resumed where it ended. An error of kind `Corrupt` means that what came is
/// wrong as a whole: throw it away, and it is worth asking once more.
pub struct BlobStream {
    inner: BoxStream<'static, Result<Bytes>>,
    size: u64,
}

impl BlobStream {
    /// How many bytes it will yield.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobStream").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.inner.poll_next_unpin(cx)
    }
}

/// What is known against mirrors.
#[derive(Debug, Default)]
pub(crate) struct Distrust {
    /// Which sent wrong bytes for which blob.
    lied: Mutex<HashSet<(String, Digest)>>,
    /// Which could not be connected to, and when.
    down: Mutex<HashMap<String, Instant>>,
}

impl Distrust {
    pub(crate) fn add(&self, host: &str, digest: &Digest) {
        self.lied.lock().unwrap_or_else(PoisonError::into_inner).insert((host.to_owned(), digest.clone()));
    }

    pub(crate) fn has(&self, host: &str, digest: &Digest) -> bool {
        self.lied.lock().unwrap_or_else(PoisonError::into_inner).contains(&(host.to_owned(), digest.clone()))
    }

    /// Takes in that `host` failed so, and that another place is asked now.
    pub(crate) fn passed_over(&self, host: &str, error: &Error) {
        tracing::debug!(%error, host, "the mirror is passed over");
        if error.is_connect() {
            self.down.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), Instant::now());
        }
    }

    /// Whether `host` could not be connected to a moment ago: waiting for it with each request would take for ever.
    pub(crate) fn is_down(&self, host: &str) -> bool {
        let down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.get(host).is_some_and(|since| since.elapsed() < MIRROR_REST)
    }
}

/// A blob that is being fetched.
struct Download {
    /// The places that have it, the current one first.
    sources: VecDeque<Session>,
    /// The places that sent something.
    used: Vec<String>,
    descriptor: Descriptor,
    distrust: Arc<Distrust>,
    answer: Option<Response>,
    verifier: Verifier,
    /// Bytes of the current answer that were delivered before.
    skip: u64,
    attempts: Attempts,
    waited: Duration,
    since_progress: usize,
}

/// Starts to fetch a blob from the first of `sources` that has it.
pub(crate) async fn fetch(
    sources: VecDeque<Session>,
    descriptor: &Descriptor,
    verifier: Verifier,
    distrust: &Arc<Distrust>,
) -> Result<BlobStream> {
    let mut download = Download {
        sources,
        used: Vec::new(),
        descriptor: descriptor.clone(),
        distrust: Arc::clone(distrust),
        answer: None,
        verifier,
        skip: 0,
        attempts: Attempts::new(true),
        waited: Duration::ZERO,
        since_progress: 0,
    };
    download.open().await?;
    let inner = unfold(Some(download), |download| async {
        let mut download = download?;
        match download.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(download))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(BlobStream { inner: inner.boxed(), size: descriptor.size })
}

impl Download {
    /// The next bytes; `None` at the verified end.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let chunk = match self.chunk().await {
                Ok(chunk) => chunk,
                Err((cause, error)) => {
                    self.recover(cause, error).await?;
                    continue;
                }
            };
            let Some(mut chunk) = chunk else { return self.end().map(|()| None) };
            let skipped = self.skip.min(chunk.len() as u64);
            self.skip -= skipped;
            let chunk = chunk.split_off(skipped as usize);
            if chunk.is_empty() {
                continue;
            }
            self.verifier.update(&chunk).map_err(|error| self.lied(error))?;
            return Ok(Some(chunk));
        }
    }

    /// Reads from the current answer; what ends before the blob does is a broken connection.
    async fn chunk(&mut self) -> Result<Option<Bytes>, (Cause, Error)> {
        let request = self.request();
        let limits = &self.sources[0].shared.transport.limits;
        let (stall, whole_stall) = (limits.stall_of_attempt(), limits.stall);
        let Some(answer) = &mut self.answer else {
            return Err((Cause::Broken, request.error(ErrorKind::Unavailable, "the connection failed")));
        };
        let started = Instant::now();
        let Ok(chunk) = tokio::time::timeout(stall.saturating_sub(self.waited), answer.chunk()).await else {
            return Err((Cause::Stall, stalled(&request, whole_stall).error));
        };
        self.waited += started.elapsed();
        let chunk =
            chunk.map_err(|error| (Cause::Broken, Error::transport(&request.method, &request.url, error)))?;
        self.note_progress(chunk.as_ref().map_or(0, Bytes::len));
        Ok(chunk)
    }

    fn note_progress(&mut self, bytes: usize) {
        self.since_progress += bytes;
        if self.since_progress >= MIN_PROGRESS {
            (self.since_progress, self.waited) = (0, Duration::ZERO);
            self.attempts.progress();
        }
    }

    /// Waits and opens the rest of the blob, here or at the next place.
    async fn recover(&mut self, cause: Cause, error: Error) -> Result<()> {
        self.answer = None;
        let (limits, is_last) = (&self.sources[0].shared.transport.limits, self.sources.len() == 1);
        match self.attempts.next(cause, limits) {
            Some(pause) if is_last => {
                tracing::info!(%error, ?pause, "resuming");
                tokio::time::sleep(pause).await;
            }
            _ if is_last => return Err(error),
            _ => drop(self.sources.pop_front()),
        }
        self.open().await
    }

    /// Asks for what is missing, and the next place where the current one does not have it.
    async fn open(&mut self) -> Result<()> {
        loop {
            let opened = self.open_current().await;
            match opened {
                Err(error) if self.sources.len() > 1 => {
                    self.distrust.passed_over(&self.sources[0].endpoint.name, &error);
                    self.sources.pop_front();
                }
                opened => return opened,
            }
        }
    }

    async fn open_current(&mut self) -> Result<()> {
        let request = self.request();
        let session = &self.sources[0];
        let answer = session.expect(&request, &[200, 206]).await?;
        self.skip = check_range(&request, &answer, self.verifier.seen(), self.descriptor.size)?;
        let host = &session.endpoint.name;
        if !self.used.contains(host) {
            self.used.push(host.clone());
        }
        self.answer = Some(answer);
        (self.since_progress, self.waited) = (0, Duration::ZERO);
        Ok(())
    }

    fn request(&self) -> Request {
        let request = self.sources[0].request(Method::GET, &format!("blobs/{}", self.descriptor.digest));
        match self.verifier.seen() {
            0 => request,
            seen => request.header(RANGE, &format!("bytes={seen}-")),
        }
    }

    fn end(&mut self) -> Result<()> {
        let fresh = Verifier::new(&self.descriptor.digest, self.descriptor.size);
        let verifier = std::mem::replace(&mut self.verifier, fresh);
        verifier.finish().map_err(|error| self.lied(error))
    }

    /// Mirrors that had a part in wrong content are not asked for it again.
    fn lied(&self, error: kiln_oci::verify::VerifyError) -> Error {
        for host in &self.used {
            self.distrust.add(host, &self.descriptor.digest);
        }
        corrupt(&self.request(), error)
    }
}

/// How many bytes to skip so that the answer goes on at `offset`; fails where it cannot be this blob.
fn check_range(request: &Request, answer: &Response, offset: u64, size: u64) -> Result<u64> {
    let wrong = |message: String| Err(request.error(ErrorKind::Corrupt, message));
    if answer.status().as_u16() == 200 {
        return match answer.content_length() {
            Some(length) if length != size => wrong(format!("the blob has {length} bytes, not {size}")),
            _ => Ok(offset),
        };
    }
    let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
    let rest_fits = answer.content_length().is_none_or(|length| length == size - offset);
    if offset == 0 || start != Some(offset) || !rest_fits {
        return wrong("the registry sends another range than was asked for".to_owned());
    }
    Ok(0)
}
