//! Those who watch a container: each has a socket, what it still has to be sent, and what it is interested in.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use kiln_sys::poll::{Interest, poll};

use super::frame::{Decoder, Frame};
use crate::{Error, Result};

/// While somebody is this many bytes behind, the container's output waits.
const MAX_BEHIND: usize = 1 << 20;
/// More watchers than this are turned away.
const MAX_CLIENTS: usize = 256;
/// How long the last words may take to arrive.
const FAREWELL: Duration = Duration::from_secs(5);
const CHUNK: usize = 32 << 10;

/// One watcher.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    decoder: Decoder,
    out: Vec<u8>,
    watches: bool,
    /// Whether it made the container run: with it goes standard input.
    is_creator: bool,
    gone: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Clients {
    list: Vec<Client>,
}

/// What one read from a client gave.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) frames: Vec<Frame>,
    /// Whether the creator went away.
    pub(super) creator_left: bool,
}

impl Clients {
    /// The process that started us. It says whether it watches before it waits for our report.
    pub(super) fn add_creator(&mut self, stream: &UnixStream) -> Result<()> {
        let stream = stream.try_clone().map_err(|error| Error::internal("duplicate a socket", error))?;
        self.add(stream, true)
    }

    fn add(&mut self, stream: UnixStream, is_creator: bool) -> Result<()> {
        stream.set_nonblocking(true).map_err(|error| Error::internal("prepare a socket", error))?;
        let (decoder, out) = (Decoder::default(), Vec::new());
        self.list.push(Client { stream, decoder, out, watches: false, is_creator, gone: false });
        Ok(())
    }

    /// Takes everybody who waits at the door.
    pub(super) fn accept(&mut self, listener: &UnixListener) {
        while let Ok((stream, _)) = listener.accept() {
            if self.list.len() < MAX_CLIENTS {
                let _ = self.add(stream, false);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Everybody's socket, with what it waits for. `listen`: whether there is room for more input.
    pub(super) fn interests(&self, listen: bool) -> impl Iterator<Item = Interest<'_>> {
        self.list.iter().map(move |client| Interest {
            fd: client.fd(),
            read: listen,
            write: !client.out.is_empty(),
        })
    }

    /// Whether everybody has room for more output.
    pub(super) fn keep_up(&self) -> bool {
        self.list.iter().all(|client| client.out.len() < MAX_BEHIND)
    }

    /// Tells the creator that the program runs. What it asked for before is heard first, so that it misses no output.
    pub(super) fn started(&mut self) {
        for client in self.list.iter_mut().filter(|client| client.is_creator) {
            client.send(&Frame::Started);
        }
    }

    /// Sends output to those who watch.
    pub(super) fn broadcast(&mut self, frame: &Frame) {
        let bytes = frame.encode();
        for client in self.list.iter_mut().filter(|client| client.watches) {
            client.out.extend_from_slice(&bytes);
            client.flush();
        }
    }

    /// Answers one client.
    pub(super) fn answer(&mut self, index: usize, frame: &Frame) {
        if let Some(client) = self.list.get_mut(index) {
            client.send(frame);
        }
    }

    /// Sends what waits for a client.
    pub(super) fn flush(&mut self, index: usize) {
        self.list[index].flush();
    }

    /// Reads what a client says.
    pub(super) fn hear(&mut self, index: usize) -> Heard {
        let client = &mut self.list[index];
        let mut heard = Heard::default();
        if client.receive().is_err() {
            client.gone = true;
        }
        while let Some(frame) = client.next_frame() {
            match frame {
                Frame::Watch => client.watches = true,
                other => heard.frames.push(other),
            }
        }
        heard.creator_left = client.gone && client.is_creator;
        heard
    }

    /// Forgets those who went away.
    pub(super) fn sweep(&mut self) {
        self.list.retain(|client| !client.gone);
    }

    /// Tells everybody the exit code, sees to it (for a bounded time) that it arrives, and parts.
    pub(super) fn finish(&mut self, code: i32) {
        for client in &mut self.list {
            client.send(&Frame::Exited(code));
        }
        let deadline = Instant::now() + FAREWELL;
        while self.list.iter().any(Client::is_behind) && Instant::now() < deadline {
            let behind: Vec<Interest<'_>> = self
                .list
                .iter()
                .filter(|client| client.is_behind())
                .map(|client| Interest { fd: client.fd(), read: false, write: true })
                .collect();
            if poll(&behind, Some(deadline.saturating_duration_since(Instant::now()))).is_err() {
                break;
            }
            self.list.iter_mut().for_each(Client::flush);
        }
        self.list.clear();
    }
}

impl Client {
    fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    fn is_behind(&self) -> bool {
        !self.gone && !self.out.is_empty()
    }

    fn send(&mut self, frame: &Frame) {
        self.out.extend(frame.encode());
        self.flush();
    }

    fn flush(&mut self) {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.gone = true;
                    self.out.clear();
                }
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.decoder.feed(&chunk[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn next_frame(&mut self) -> Option<Frame> {
        self.decoder.next().unwrap_or_else(|_| {
            self.gone = true;
            None
        })
    }
}
