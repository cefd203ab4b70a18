//! The loop while a container runs: its output to log and watchers, their input to it.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use kiln_runtime::{ContainerState, Process, Running, Stdio, exec};
use kiln_sys::poll::{Interest, Ready, poll};

use super::clients::Clients;
use super::frame::Frame;
use super::streams::Streams;
use super::{failure, spec};
use crate::attach::Stream;
use crate::containers::Record;
use crate::logs::LogWriter;
use crate::{Error, Result};

/// While this many bytes wait for a program that does not read, nobody may send more.
const MAX_INPUT: usize = 1 << 20;
/// How long output is awaited after the program ended: what holds a pipe open then is not in the container.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// One run of the program.
pub(super) struct Pump<'a> {
    pub(super) record: &'a Record,
    pub(super) running: &'a Running,
    pub(super) listener: &'a UnixListener,
    pub(super) log: &'a mut LogWriter,
    pub(super) streams: Streams,
    pub(super) clients: &'a mut Clients,
    /// Whether standard input ends when all of it has been written.
    pub(super) closing: bool,
}

/// What is polled first, in this order; the clients follow.
const EXIT: usize = 0;
const DOOR: usize = 1;
const STDIN: usize = 2;
const STDOUT: usize = 3;
const STDERR: usize = 4;
const FIRST_CLIENT: usize = 5;

impl Pump<'_> {
    /// Runs until the program has ended and its output has been read to its end.
    pub(super) fn run(mut self) -> Result<()> {
        let mut input = Vec::new();
        let mut execs: Vec<Running> = Vec::new();
        let mut deadline: Option<Instant> = None;
        // What the creator said before the program started.
        self.hear_all(&mut input, &mut execs);
        loop {
            let over = deadline.is_some_and(|at| !self.streams.is_open() || Instant::now() >= at);
            if over {
                self.log.finish();
                return Ok(());
            }
            let ready = self.wait(&input, deadline)?;
            if ready[EXIT].read && deadline.is_none() {
                deadline = Some(Instant::now() + LAST_OUTPUT);
            }
            self.serve(&ready, &mut input, &mut execs);
        }
    }

    fn wait(&self, input: &[u8], deadline: Option<Instant>) -> Result<Vec<Ready>> {
        let nothing = Interest { fd: self.listener.as_fd(), read: false, write: false };
        let readable = |fd| Interest { fd, read: true, write: false };
        let mut interests = vec![nothing; FIRST_CLIENT];
        if deadline.is_none() {
            interests[EXIT] = readable(self.running.pidfd());
        }
        interests[DOOR] = readable(self.listener.as_fd());
        if let (Some(file), false) = (&self.streams.stdin, input.is_empty()) {
            interests[STDIN] = Interest { fd: file.as_fd(), read: false, write: true };
        }
        for (slot, file) in [(STDOUT, &self.streams.stdout), (STDERR, &self.streams.stderr)] {
            if let (Some(file), true) = (file, self.clients.keep_up()) {
                interests[slot] = readable(file.as_fd());
            }
        }
        interests.extend(self.clients.interests(input.len() < MAX_INPUT));
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        poll(&interests, left).map_err(|error| Error::internal("wait for the container", error))
    }

    fn serve(&mut self, ready: &[Ready], input: &mut Vec<u8>, execs: &mut Vec<Running>) {
        for (slot, stream) in [(STDOUT, Stream::Stdout), (STDERR, Stream::Stderr)] {
            if ready[slot].read {
                self.forward(stream);
            }
        }
        for index in 0..self.clients.len() {
            let Some(ready) = ready.get(FIRST_CLIENT + index) else { break };
            if ready.write {
                self.clients.flush(index);
            }
            if ready.read {
                self.hear(index, input, execs);
            }
        }
        if ready[STDIN].write && !input.is_empty() {
            let written = self.streams.write(input);
            input.drain(..written);
            if self.closing && input.is_empty() {
                self.streams.close_input();
            }
        }
        self.clients.sweep();
        if ready[DOOR].read {
            self.clients.accept(self.listener);
        }
    }

    fn forward(&mut self, stream: Stream) {
        let bytes = self.streams.read(stream);
        if bytes.is_empty() {
            return;
        }
        self.log.write(stream, &bytes);
        self.clients.broadcast(&match stream {
            Stream::Stdout => Frame::Stdout(bytes),
            Stream::Stderr => Frame::Stderr(bytes),
        });
    }

    fn hear_all(&mut self, input: &mut Vec<u8>, execs: &mut Vec<Running>) {
        for index in 0..self.clients.len() {
            self.hear(index, input, execs);
        }
        self.clients.sweep();
    }

    fn hear(&mut self, index: usize, input: &mut Vec<u8>, execs: &mut Vec<Running>) {
        let heard = self.clients.hear(index);
        for frame in heard.frames {
            match frame {
                Frame::Input(bytes) if self.streams.stdin.is_some() => input.extend(bytes),
                Frame::CloseInput => self.close_input(input),
                Frame::Resize(rows, columns) => self.streams.resize(rows, columns),
                // A program that has just ended needs no signal any more.
                Frame::Signal(signal) => drop(self.running.kill(signal)),
                Frame::Exec(text) => {
                    let answer = self.exec(&text, execs);
                    self.clients.answer(index, &answer);
                }
                _ => {}
            }
        }
        if heard.creator_left {
            self.close_input(input);
        }
    }

    /// What was sent before the end of input is still written.
    fn close_input(&mut self, input: &[u8]) {
        self.closing = true;
        if input.is_empty() {
            self.streams.close_input();
        }
    }

    /// Starts a detached exec: its parent must be somebody who stays.
    fn exec(&self, text: &[u8], execs: &mut Vec<Running>) -> Frame {
        execs.retain(|running| {
            !kiln_sys::process::poll_exit(running.pidfd(), Some(Duration::ZERO)).unwrap_or(true)
        });
        let start = || -> Result<Running> {
            let process: Process =
                serde_json::from_slice(text).map_err(|error| Error::internal("read the exec", error))?;
            let target = ContainerState {
                pid: self.running.pid(),
                cgroup_paths: self.running.cgroup().map(|group| group.paths().to_vec()).unwrap_or_default(),
                security: spec::security(&self.record.container.options),
                rlimits: Vec::new(),
            };
            let stdio = if process.tty { Stdio::Pty { size: None } } else { Stdio::Null };
            Ok(exec(&target, process, stdio)?)
        };
        match start() {
            Ok(running) => {
                execs.push(running);
                Frame::Started
            }
            Err(error) => failure(&error),
        }
    }
}
