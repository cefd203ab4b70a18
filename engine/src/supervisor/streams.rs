//! The supervisor's ends of a container's standard streams.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use kiln_runtime::Stdio;
use kiln_sys::pty::{WindowSize, set_window_size};

use crate::attach::Stream;
use crate::containers::ContainerOptions;
use crate::{Error, Result};

/// Read at once from a stream.
const CHUNK: usize = 32 << 10;

/// Where the container's output comes from and its input goes.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) stdin: Option<File>,
    pub(super) stdout: Option<File>,
    pub(super) stderr: Option<File>,
    terminal: Option<OwnedFd>,
}

impl Streams {
    /// Our ends, and the container's.
    pub(super) fn of(options: &ContainerOptions) -> Result<(Streams, Stdio)> {
        if options.tty {
            return Ok((Streams::default(), Stdio::Pty { size: None }));
        }
        let pipe = || io::pipe().map_err(|error| Error::internal("make a pipe", error));
        let (stdout, container_stdout) = pipe()?;
        let (stderr, container_stderr) = pipe()?;
        let (container_stdin, stdin) = if options.open_stdin {
            let (reader, writer) = pipe()?;
            (OwnedFd::from(reader), Some(nonblocking(writer.into())?))
        } else {
            (kiln_sys::fd::open_null().map_err(|error| Error::internal("open `/dev/null`", error))?, None)
        };
        let streams = Streams {
            stdin,
            stdout: Some(nonblocking(stdout.into())?),
            stderr: Some(nonblocking(stderr.into())?),
            terminal: None,
        };
        let stdio = Stdio::Fds {
            stdin: container_stdin,
            stdout: container_stdout.into(),
            stderr: container_stderr.into(),
        };
        Ok((streams, stdio))
    }

    /// The same with the terminal that the runtime made, if it made one.
    pub(super) fn with_terminal(mut self, master: Option<OwnedFd>) -> Result<Streams> {
        if let Some(master) = master {
            let copy =
                || master.try_clone().map_err(|error| Error::internal("duplicate the terminal", error));
            self.stdin = Some(nonblocking(copy()?)?);
            self.stdout = Some(nonblocking(copy()?)?);
            self.terminal = Some(master);
        }
        Ok(self)
    }

    pub(super) fn is_open(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some()
    }

    /// Reads what there is; an empty answer at the end of the stream, which is then closed.
    pub(super) fn read(&mut self, stream: Stream) -> Vec<u8> {
        let slot = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let mut chunk = vec![0; CHUNK];
        match slot.as_mut().map(|file| file.read(&mut chunk)) {
            Some(Ok(count)) if count > 0 => chunk.truncate(count),
            Some(Err(error)) if is_temporary(&error) => chunk.clear(),
            // The end of a pipe; a terminal that nobody has open any more answers with an error.
            _ => {
                *slot = None;
                chunk.clear();
            }
        }
        chunk
    }

    /// Writes what fits; how much that was. An input that nobody reads any more swallows everything.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        match self.stdin.as_mut().map(|file| file.write(bytes)) {
            Some(Ok(count)) => count,
            Some(Err(error)) if is_temporary(&error) => 0,
            _ => {
                self.close_input();
                bytes.len()
            }
        }
    }

    /// Closes standard input. A terminal has no end of input but the key for it.
    pub(super) fn close_input(&mut self) {
        if self.terminal.is_none() {
            self.stdin = None;
        }
    }

    pub(super) fn resize(&self, rows: u16, columns: u16) {
        use std::os::fd::AsFd;
        if let Some(terminal) = &self.terminal {
            // A container that is just ending has no use for it.
            let _ = set_window_size(terminal.as_fd(), WindowSize { rows, columns });
        }
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn nonblocking(fd: OwnedFd) -> Result<File> {
    kiln_sys::fd::set_nonblocking(&fd).map_err(|error| Error::internal("prepare a stream", error))?;
    Ok(File::from(fd))
}
