//! A connection inside of a stream of messages: `Control.Session`.

use bollard_buildkit_proto::moby::buildkit::v1::BytesMessage;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// Bytes under way in either direction.
const BUFFER: usize = 256 << 10;
/// Messages under way to the client, and how large each is.
const MESSAGES: usize = 8;
const MESSAGE: usize = 64 << 10;

/// What is answered to the client.
pub(super) type Answers = mpsc::Receiver<Result<BytesMessage, Status>>;

/// The connection in `stream`, and the messages that are its other direction. It ends when either side does.
pub(super) fn open(stream: Streaming<BytesMessage>) -> (DuplexStream, Answers) {
    let (ours, theirs) = duplex(BUFFER);
    let (read, write) = split(ours);
    let (sender, answers) = mpsc::channel(MESSAGES);
    tokio::spawn(receive(stream, write));
    tokio::spawn(send(read, sender));
    (theirs, answers)
}

async fn receive(mut stream: Streaming<BytesMessage>, mut to: WriteHalf<DuplexStream>) {
    while let Ok(Some(message)) = stream.message().await {
        if to.write_all(&message.data).await.is_err() {
            return;
        }
    }
    // Best effort: whoever reads may be gone already.
    drop(to.shutdown().await);
}

async fn send(mut from: ReadHalf<DuplexStream>, to: mpsc::Sender<Result<BytesMessage, Status>>) {
    let mut bytes = BytesMut::with_capacity(MESSAGE);
    loop {
        match from.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let message = BytesMessage { data: bytes.split().to_vec() };
        if to.send(Ok(message)).await.is_err() {
            return;
        }
        bytes.reserve(MESSAGE);
    }
}
