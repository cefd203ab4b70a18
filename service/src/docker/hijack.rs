//! A connection that becomes a stream in both directions, and the keys that end it.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use kiln_engine::CancellationToken;
use kiln_engine::attach::AttachInput;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::version::ApiVersion;
use super::{Failure, stream, task};
use crate::server::{Patient, Peer};

/// Pieces that wait in each direction.
const DEPTH: usize = 16;
/// How often it is looked whether a client has gone away.
const LOOK: Duration = Duration::from_secs(1);
/// How long a client may take to read the head of its answer, and how often it is looked whether it has.
const HEAD_PATIENCE: Duration = Duration::from_millis(200);
const HEAD_LOOK: Duration = Duration::from_millis(1);
/// Bytes of input that are read at once.
const CHUNK: usize = 32 << 10;
/// The content type of a terminal's output, and of everything before version 1.42.
const RAW: &str = "application/vnd.docker.raw-stream";
/// The content type of frames.
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
const KNOWS_MULTIPLEXED: ApiVersion = ApiVersion::one(42);

/// What is to be written.
type Pieces = mpsc::Receiver<std::io::Result<Bytes>>;

/// The server's side of a stream.
pub(crate) struct Duplex {
    /// What the client gets. When all senders are gone, the stream ends.
    pub(crate) output: mpsc::Sender<std::io::Result<Bytes>>,
    /// What the client sends; nothing where it did not ask for a connection of its own.
    pub(crate) input: Option<mpsc::Receiver<Bytes>>,
    /// Cancelled when the stream is over, or its client has gone away.
    pub(crate) over: CancellationToken,
}

/// The content type of output that is framed or not.
pub(crate) fn content_type(framed: bool, version: ApiVersion) -> &'static str {
    if framed && version >= KNOWS_MULTIPLEXED { MULTIPLEXED } else { RAW }
}

/// Answers that the connection is a stream from now on. A client that did not ask for that gets the output as a body.
pub(crate) fn hijack(mut request: Request, content_type: &'static str) -> (Response, Duplex) {
    let upgrade = request.headers().get(header::UPGRADE).cloned();
    let on_upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let (Some(protocol), Some(on_upgrade)) = (upgrade, on_upgrade) else {
        let (output, pieces) = mpsc::channel(DEPTH);
        let over = CancellationToken::new();
        let body = stream::guarded(pieces, over.clone().drop_guard());
        let response = ([(header::CONTENT_TYPE, content_type)], body).into_response();
        return (response, Duplex { output, input: None, over });
    };
    let (output, pieces) = mpsc::channel(DEPTH);
    let (sender, input) = mpsc::channel(DEPTH);
    let peer = request.extensions().get::<Peer>().cloned();
    let over = CancellationToken::new();
    let guard = over.clone().drop_guard();
    tokio::spawn(async move {
        if let Ok(upgraded) = on_upgrade.await {
            move_bytes(upgraded, peer.as_ref(), pieces, sender).await;
        }
        drop((peer, guard));
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, protocol),
    ];
    let response = (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response();
    (response, Duplex { output, input: Some(input), over })
}

/// Moves bytes both ways until there is no more output or the client has gone away; one that has said all may still listen.
async fn move_bytes(upgraded: Upgraded, peer: Option<&Peer>, pieces: Pieces, input: mpsc::Sender<Bytes>) {
    match auto::upgrade::downcast::<TokioIo<Patient<UnixStream>>>(upgraded) {
        Ok(parts) => {
            let stream = parts.io.into_inner().into_inner();
            let watched = stream.as_fd().try_clone_to_owned();
            let (reader, writer) = stream.into_split();
            let reader = std::io::Cursor::new(parts.read_buf).chain(reader);
            let moving = both_ways(reader, writer, pieces, input);
            match watched {
                Ok(watched) => tokio::select! {
                    () = async { head_is_read(&watched).await; moving.await } => {}
                    () = hung_up(&watched, PollFlags::HUP) => {}
                },
                Err(_) => moving.await,
            }
        }
        Err(upgraded) => {
            let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
            let moving = both_ways(reader, writer, pieces, input);
            match peer.and_then(Peer::socket) {
                // In TLS, to have said all is a message: whoever closes the socket is gone.
                Some(socket) => tokio::select! {
                    () = moving => {}
                    () = hung_up(socket, PollFlags::HUP | PollFlags::RDHUP) => {}
                },
                None => moving.await,
            }
        }
    }
}

/// Waits until the client has read the head of its answer. Some read that through a buffer and then the stream beneath it, and
/// lose what comes with it (docker-py does): a process that ends in milliseconds would be silent to them.
async fn head_is_read(socket: &OwnedFd) {
    let read = async {
        while kiln_engine::is_unread(socket) {
            tokio::time::sleep(HEAD_LOOK).await;
        }
    };
    let _ = tokio::time::timeout(HEAD_PATIENCE, read).await;
}

/// Returns when one of `signs` shows on a socket: `HUP` where its other end is closed in both directions. To have said all
/// is not that, and is all that a read can tell.
async fn hung_up(socket: &OwnedFd, signs: PollFlags) {
    loop {
        tokio::time::sleep(LOOK).await;
        let mut asked = [PollFd::new(socket, signs)];
        let _ = rustix::event::poll(&mut asked, Some(&Timespec::default()));
        if asked[0].revents().intersects(signs) {
            return;
        }
    }
}

async fn both_ways(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    pieces: Pieces,
    input: mpsc::Sender<Bytes>,
) {
    let reading = async {
        read(reader, input).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = write(writer, pieces) => {}
        () = reading => {}
    }
}

async fn read(mut reader: impl AsyncRead + Unpin, input: mpsc::Sender<Bytes>) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(count) = reader.read(&mut buffer).await
        && count > 0
        && input.send(Bytes::copy_from_slice(&buffer[..count])).await.is_ok()
    {}
}

async fn write(mut writer: impl AsyncWrite + Unpin, mut pieces: Pieces) {
    while let Some(Ok(piece)) = pieces.recv().await {
        if writer.write_all(&piece).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}

/// Ends a client's stream while its process goes on, if the stream is still there.
pub(crate) fn end(output: &mpsc::WeakSender<std::io::Result<Bytes>>) {
    if let Some(output) = output.upgrade() {
        // An error that nobody is told: it only ends the stream.
        let _ = output.blocking_send(Err(std::io::ErrorKind::Interrupted.into()));
    }
}

/// Passes what a client sends on to a process until the client has said all or presses `keys`, which calls `on_detach`.
pub(crate) fn feed(
    mut input: mpsc::Receiver<Bytes>,
    process: Arc<dyn AttachInput>,
    mut keys: DetachKeys,
    on_detach: impl FnOnce() + Send + 'static,
) -> kiln_engine::Result<()> {
    task::thread("input", move || {
        while let Some(bytes) = input.blocking_recv() {
            let (pass, detached) = keys.filter(&bytes);
            if !pass.is_empty() && process.write(&pass).is_err() {
                return;
            }
            if detached {
                on_detach();
                return;
            }
        }
        // The process may be gone by now.
        let _ = process.close();
    })
}

/// The keys by which a terminal is left: `ctrl-p,ctrl-q`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    sequence: Vec<u8>,
    /// How many of them were pressed.
    matched: usize,
}

impl DetachKeys {
    /// No keys: a stream that is no terminal is left by hanging up.
    pub(crate) fn none() -> DetachKeys {
        DetachKeys::default()
    }

    /// Reads `ctrl-<key>` and single characters with commas between; nothing said are Docker's.
    pub(crate) fn parse(text: Option<&str>) -> Result<DetachKeys, Failure> {
        let Some(text) = text else { return Ok(DetachKeys { sequence: vec![16, 17], matched: 0 }) };
        let key = |word: &str| match (word.strip_prefix("ctrl-"), word.as_bytes()) {
            (Some(key), _) => match key.as_bytes() {
                [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
                [b'@'] => Some(0),
                [other @ b'['..=b'_'] => Some(other - b'@'),
                _ => None,
            },
            (None, [byte]) => Some(*byte),
            (None, _) => None,
        };
        let sequence = text.split(',').map(key).collect::<Option<Vec<u8>>>();
        let sequence =
            sequence.ok_or_else(|| Failure::bad_request(format!("invalid detach keys ({text})")))?;
        Ok(DetachKeys { sequence, matched: 0 })
    }

    /// What of some input goes to the process, and whether the keys were pressed.
    fn filter(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut pass = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if self.sequence.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    return (pass, true);
                }
                continue;
            }
            pass.extend_from_slice(&self.sequence[..self.matched]);
            self.matched = usize::from(self.sequence.first() == Some(byte));
            if self.matched == 0 {
                pass.push(*byte);
            }
        }
        (pass, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_held_back_until_they_are_others() {
        let mut keys = DetachKeys::parse(None).unwrap();
        assert_eq!(keys.filter(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.filter(b"b\x10\x10"), (b"\x10b\x10".to_vec(), false));
        assert_eq!(keys.filter(b"\x11c"), (Vec::new(), true));
        let mut own = DetachKeys::parse(Some("ctrl-x,q")).unwrap();
        assert_eq!(own.filter(b"\x18q"), (Vec::new(), true));
        assert_eq!(DetachKeys::none().filter(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
        for bad in ["ctrl-1", "xy", "a,,b"] {
            assert!(DetachKeys::parse(Some(bad)).is_err(), "{bad}");
        }
    }
}
