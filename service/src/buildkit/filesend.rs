//! `FileSend`: results for the client, as bytes of one file or as the files of a folder.

use std::io::{self, Read as _, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::moby::filesync::packet::file_send_client::FileSendClient as TreeClient;
use bollard_buildkit_proto::moby::filesync::v1::BytesMessage;
use bollard_buildkit_proto::moby::filesync::v1::file_send_client::FileSendClient as BytesClient;
use futures_util::Stream;
use kiln_engine::build::{TakeTree, Tree};
use kiln_engine::{CancellationToken, Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::{Request, Status, Streaming};

use super::packets::{is_regular, packet, stat};
use super::session::Session;

/// What a client must serve for this.
const METHOD: &str = "/moby.filesync.v1.FileSend/DiffCopy";
/// Which of its outputs is meant, and that all platforms come at once.
const EXPORTER: &str = "buildkit-attachable-exporter-id";
const ALL_PLATFORMS: &str = "buildkit-exporter-multi-platform";
/// Bytes of one message, and messages under way.
const CHUNK: usize = 32 << 10;
const MESSAGES: usize = 16;

/// The streams of one build to its client, and how they end.
#[derive(Default)]
pub(super) struct Streams {
    /// Gives the build up.
    cancel: CancellationToken,
    ends: Mutex<Vec<JoinHandle<std::result::Result<(), Status>>>>,
}

impl Streams {
    /// Of a build that `cancel` gives up.
    pub(super) fn of(cancel: CancellationToken) -> Streams {
        Streams { cancel, ends: Mutex::default() }
    }

    /// Sends files to the client's output number `exporter`; to be used on a thread that may wait.
    pub(super) fn tree(&self, session: &Arc<Session>, exporter: usize) -> Result<TreeSender> {
        check(session)?;
        let (session, cancel) = (session.clone(), self.cancel.clone());
        Ok(TreeSender { session, exporter, cancel, runtime: Handle::current() })
    }

    /// A stream to the client's output number `exporter`. What is written is whole only when [`Streams::finish`] says so.
    pub(super) fn open(
        &self,
        session: &Arc<Session>,
        exporter: usize,
    ) -> Result<Box<dyn Write + Send + Sync>> {
        check(session)?;
        let (sender, receiver) = mpsc::channel(MESSAGES);
        let mut request = Request::new(Messages(receiver));
        request.metadata_mut().insert(EXPORTER, exporter.into());
        let mut client = BytesClient::new(session.channel());
        let (there, cancel) = (session.clone(), self.cancel.clone());
        let end = tokio::spawn(async move {
            let sent = async {
                let mut answers = client.diff_copy(request).await?.into_inner();
                // The client closes its side when it has everything.
                while answers.message().await?.is_some() {}
                Ok::<(), Status>(())
            };
            tokio::select! {
                biased;
                sent = sent => sent,
                why = there.gone(&cancel) => Err(Status::cancelled(why)),
            }
        });
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).push(end);
        Ok(Box::new(Writer {
            sender,
            buffer: Vec::with_capacity(CHUNK),
            session: session.clone(),
            cancel: self.cancel.clone(),
            runtime: Handle::current(),
        }))
    }

    /// Waits until the client has what was written; the writers must be gone.
    pub(super) async fn finish(&self) -> Result<()> {
        let ends = std::mem::take(&mut *self.ends.lock().unwrap_or_else(PoisonError::into_inner));
        for end in ends {
            let ended = end.await.map_err(|error| Error::internal("send the result", error))?;
            ended.map_err(|status| refused(status.message()))?;
        }
        Ok(())
    }
}

fn check(session: &Session) -> Result<()> {
    match session.supports(METHOD) {
        true => Ok(()),
        false => Err(Error::invalid("the client takes no files, so the result cannot be sent to it")),
    }
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("send the result to the client: {why}"))
}

/// What goes to the client.
struct Messages<T>(mpsc::Receiver<T>);

impl<T> Stream for Messages<T> {
    type Item = T;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<T>> {
        self.0.poll_recv(context)
    }
}

/// Bytes on their way. Used by threads that may wait.
struct Writer {
    sender: mpsc::Sender<BytesMessage>,
    buffer: Vec<u8>,
    session: Arc<Session>,
    cancel: CancellationToken,
    runtime: Handle,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let data = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        let Writer { sender, session, cancel, runtime, .. } = &*self;
        runtime.block_on(async {
            tokio::select! {
                sent = put(sender, BytesMessage { data }) => sent,
                why = session.gone(cancel) => Err(io::Error::new(io::ErrorKind::BrokenPipe, why)),
            }
        })
    }
}

/// Sends files to the client's output number `exporter`.
pub(super) struct TreeSender {
    session: Arc<Session>,
    exporter: usize,
    cancel: CancellationToken,
    runtime: Handle,
}

impl TakeTree for TreeSender {
    fn take(self: Box<Self>, tree: &dyn Tree) -> io::Result<()> {
        let TreeSender { session, exporter, cancel, runtime } = *self;
        runtime.block_on(async {
            tokio::select! {
                sent = send(&session, exporter, tree) => sent,
                why = session.gone(&cancel) => Err(io::Error::new(io::ErrorKind::BrokenPipe, why)),
            }
        })
    }
}

async fn send(session: &Session, exporter: usize, tree: &dyn Tree) -> io::Result<()> {
    let other = |status: Status| io::Error::other(status.message().to_owned());
    let (sender, receiver) = mpsc::channel(MESSAGES);
    let mut request = Request::new(Messages(receiver));
    request.metadata_mut().insert(EXPORTER, exporter.into());
    request.metadata_mut().insert(ALL_PLATFORMS, 1.into());
    let mut client = TreeClient::new(session.channel());
    let stats = async {
        for entry in tree.entries() {
            let stat = stat(entry).ok_or_else(|| {
                let shown = String::from_utf8_lossy(&entry.path).into_owned();
                io::Error::other(format!("`{shown}`: a client is told names that are text, and this is none"))
            })?;
            put(&sender, Packet { stat: Some(stat), ..packet(PacketType::PacketStat) }).await?;
        }
        put(&sender, packet(PacketType::PacketStat)).await
    };
    let answers = async { client.diff_copy(request).await.map(tonic::Response::into_inner).map_err(other) };
    let serve = async {
        let mut answers: Streaming<Packet> = answers.await?;
        serve(&mut answers, &sender, tree).await?;
        Ok(answers)
    };
    let ((), mut answers) = tokio::try_join!(stats, serve)?;
    // Whoever ends a call before its other side has read everything takes back what was under way.
    drop(sender);
    while answers.message().await.map_err(other)?.is_some() {}
    Ok(())
}

/// Answers the client's requests for content until it has everything.
async fn serve(
    answers: &mut Streaming<Packet>,
    sender: &mpsc::Sender<Packet>,
    tree: &dyn Tree,
) -> io::Result<()> {
    let other = |status: Status| io::Error::other(status.message().to_owned());
    while let Some(answer) = answers.message().await.map_err(other)? {
        match answer.r#type() {
            PacketType::PacketReq => content(sender, answer.id, tree).await?,
            PacketType::PacketFin => {
                put(sender, packet(PacketType::PacketFin)).await?;
                return Ok(());
            }
            PacketType::PacketErr => {
                return Err(io::Error::other(String::from_utf8_lossy(&answer.data).into_owned()));
            }
            PacketType::PacketStat | PacketType::PacketData => {
                return Err(io::Error::other("the client sends what only a sender does"));
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the client stopped in the middle"))
}

async fn content(sender: &mpsc::Sender<Packet>, id: u32, tree: &dyn Tree) -> io::Result<()> {
    let index = usize::try_from(id).map_err(io::Error::other)?;
    let entry = tree.entries().get(index).and_then(stat);
    if !entry.is_some_and(|stat| is_regular(stat.mode)) {
        return Err(io::Error::other("the client asks for a file that is none"));
    }
    let mut file = tree.open(index)?;
    loop {
        let mut data = Vec::with_capacity(CHUNK);
        file.by_ref().take(CHUNK as u64).read_to_end(&mut data)?;
        let is_end = data.is_empty();
        put(sender, Packet { id, data, ..packet(PacketType::PacketData) }).await?;
        if is_end {
            return Ok(());
        }
    }
}

async fn put<T>(sender: &mpsc::Sender<T>, message: T) -> io::Result<()> {
    let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client does not take it");
    sender.send(message).await.map_err(gone)
}
