//! The streams of a container or an exec, from the side of whoever watches.

use std::borrow::Borrow;
use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use kiln_sys::process::poll_readable;

use crate::containers::signal;
use crate::supervisor::frame::Frame;
use crate::supervisor::socket_path;
use crate::{Error, ErrorKind, Result};

/// Bytes of input sent in one frame.
const MAX_INPUT: usize = 64 << 10;

/// What to connect to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Send standard input.
    pub stdin: bool,
    /// Receive standard output and standard error.
    pub output: bool,
    /// Receive first what was logged before.
    pub logs: bool,
    /// Size of the caller's terminal, if it has one: `(rows, columns)`.
    pub size: Option<(u16, u16)>,
}

/// Which stream bytes come from. A terminal has standard output only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Some output of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where it was written.
    pub stream: Stream,
    /// The bytes, as they were written.
    pub bytes: Vec<u8>,
}

/// The way in: safe to use from several threads at once. Calls block.
pub trait AttachInput: Send + Sync {
    /// Sends bytes to standard input.
    fn write(&self, bytes: &[u8]) -> Result<()>;
    /// Closes standard input.
    fn close(&self) -> Result<()>;
    /// Tells the terminal its size.
    fn resize(&self, rows: u16, columns: u16) -> Result<()>;
    /// Sends a signal to the process.
    fn signal(&self, signal: &str) -> Result<()>;
    /// Stops watching: the output ends. A process whose parent we are is watched until its end all the same.
    fn hang_up(&self) {}
}

/// The way out.
pub trait AttachOutput: Send {
    /// The next output; `None` at its end. Blocks.
    fn next(&mut self) -> Result<Option<Chunk>>;
}

/// The end of the process.
pub trait AttachExit: Send {
    /// Waits for the process's end and gives its exit code, even if its container is removed at that moment. Blocks.
    fn wait(&mut self) -> Result<i32>;
}

/// A connection to a process: its streams and its end.
pub struct Attach {
    /// The way in.
    pub input: Arc<dyn AttachInput>,
    /// The way out.
    pub output: Box<dyn AttachOutput>,
    /// The end.
    pub exit: Box<dyn AttachExit>,
}

impl fmt::Debug for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attach")
    }
}

/// A connection to a container's supervisor.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    reader: Mutex<()>,
    exit: OnceLock<i32>,
}

impl Link {
    pub(crate) fn new(stream: UnixStream) -> Arc<Link> {
        Arc::new(Link { stream, reader: Mutex::default(), exit: OnceLock::new() })
    }

    /// Connects to the supervisor of the container whose directory this is.
    pub(crate) fn connect(directory: &Path) -> std::io::Result<Arc<Link>> {
        let (_root, path) = socket_path(directory).map_err(std::io::Error::other)?;
        UnixStream::connect(path).map(Link::new)
    }

    pub(crate) fn send(&self, frame: &Frame) -> Result<()> {
        self.send_all([frame])
    }

    /// Sends frames in one piece: a reader that has the first has all.
    pub(crate) fn send_all(&self, frames: impl IntoIterator<Item = impl Borrow<Frame>>) -> Result<()> {
        use std::io::Write;
        let bytes: Vec<u8> = frames.into_iter().flat_map(|frame| frame.borrow().encode()).collect();
        let sent = (&self.stream).write_all(&bytes);
        sent.map_err(|error| Error::internal("talk to the container's supervisor", error))
    }

    /// The next frame; `None` when the supervisor has nothing more to say.
    pub(crate) fn receive(&self) -> Result<Option<Frame>> {
        let _turn = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if self.exit.get().is_some() {
            return Ok(None);
        }
        let frame = match Frame::read(&self.stream) {
            // The last words were read; that the other side is gone then is no news.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            frame => frame.map_err(|error| Error::internal("hear the container's supervisor", error))?,
        };
        if let Some(Frame::Exited(code)) = frame {
            let _ = self.exit.set(code);
        }
        Ok(frame)
    }

    /// Waits until the container has ended; its exit code, unless the supervisor was killed. With a deadline, also
    /// `None` when that has passed.
    pub(crate) fn wait(&self) -> Result<Option<i32>> {
        while self.exit.get().is_none() && self.receive()?.is_some() {}
        Ok(self.exit.get().copied())
    }

    /// Whether the container ends within `timeout`.
    pub(crate) fn ends_within(&self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let ready = poll_readable(&[self.stream.as_fd()], Some(left))
                .map_err(|error| Error::internal("wait for the container", error))?;
            if !ready[0] {
                return Ok(false);
            }
            if self.receive()?.is_none() || self.exit.get().is_some() {
                return Ok(true);
            }
        }
    }

    /// The public face of a connection.
    pub(crate) fn into_attach(self: Arc<Self>) -> Attach {
        Attach {
            input: Arc::clone(&self) as _,
            output: Box::new(Output(Arc::clone(&self))),
            exit: Box::new(Exit(self)),
        }
    }
}

impl AttachInput for Link {
    fn write(&self, bytes: &[u8]) -> Result<()> {
        bytes.chunks(MAX_INPUT).try_for_each(|chunk| self.send(&Frame::Input(chunk.to_vec())))
    }

    fn close(&self) -> Result<()> {
        self.send(&Frame::CloseInput)
    }

    fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        self.send(&Frame::Resize(rows, columns))
    }

    fn signal(&self, signal: &str) -> Result<()> {
        self.send(&Frame::Signal(signal::parse(signal)?))
    }

    fn hang_up(&self) {
        // One that is gone already is what is wanted.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

struct Output(Arc<Link>);

impl AttachOutput for Output {
    fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            return Ok(match self.0.receive()? {
                Some(Frame::Stdout(bytes)) => Some(Chunk { stream: Stream::Stdout, bytes }),
                Some(Frame::Stderr(bytes)) => Some(Chunk { stream: Stream::Stderr, bytes }),
                Some(Frame::Exited(_)) | None => None,
                Some(_) => continue,
            });
        }
    }
}

struct Exit(Arc<Link>);

impl AttachExit for Exit {
    fn wait(&mut self) -> Result<i32> {
        let killed = || {
            Error::new(
                ErrorKind::Internal,
                "the container's supervisor was killed, and the container with it",
            )
        };
        self.0.wait()?.ok_or_else(killed)
    }
}
