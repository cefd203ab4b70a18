//! An exec whose parent is this process, which holds its streams.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_runtime::{Running, Stdio, WindowSize, launch};
use kiln_sys::process::poll_readable;
use kiln_sys::pty::set_window_size;

use crate::attach::{Attach, AttachExit, AttachInput, AttachOutput, Chunk, Stream};
use crate::containers::signal;
use crate::{Error, Result};

const CHUNK: usize = 32 << 10;

/// The streams that a process gets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Streams {
    /// A terminal.
    pub(crate) tty: bool,
    /// Standard input, where there is no terminal.
    pub(crate) stdin: bool,
    /// The terminal's first size: `(rows, columns)`.
    pub(crate) size: Option<(u16, u16)>,
}

/// Starts a process by `launch`, with these streams.
pub(crate) fn start(
    streams: Streams,
    launch: impl FnOnce(Stdio) -> kiln_runtime::Result<Running>,
) -> Result<Attach> {
    let pipe = || io::pipe().map_err(|error| Error::internal("make a pipe", error));
    if streams.tty {
        let size = streams.size.map(|(rows, columns)| WindowSize { rows, columns });
        let mut running = launch(Stdio::Pty { size })?;
        let master = running.take_master().ok_or_else(|| Error::internal("exec", "there is no terminal"))?;
        let copy = || {
            master.try_clone().map(File::from).map_err(|error| Error::internal("copy the terminal", error))
        };
        let (input, output) = (copy()?, copy()?);
        return Ok(attach(running, Some(input), [Some(output), None], Some(master)));
    }
    let (stdout, process_stdout) = pipe()?;
    let (stderr, process_stderr) = pipe()?;
    let (process_stdin, stdin) = if streams.stdin {
        let (reader, writer) = pipe()?;
        (OwnedFd::from(reader), Some(File::from(OwnedFd::from(writer))))
    } else {
        (kiln_sys::fd::open_null().map_err(|error| Error::internal("open `/dev/null`", error))?, None)
    };
    let stdio =
        Stdio::Fds { stdin: process_stdin, stdout: process_stdout.into(), stderr: process_stderr.into() };
    let running = launch(stdio)?;
    let file = |reader: io::PipeReader| Some(File::from(OwnedFd::from(reader)));
    Ok(attach(running, stdin, [file(stdout), file(stderr)], None))
}

fn attach(
    running: Running,
    stdin: Option<File>,
    outputs: [Option<File>; 2],
    terminal: Option<OwnedFd>,
) -> Attach {
    let input = Input { stdin: Mutex::new(stdin), terminal, killer: running.killer() };
    Attach { input: Arc::new(input), output: Box::new(Output(outputs)), exit: Box::new(Exit(running)) }
}

struct Input {
    stdin: Mutex<Option<File>>,
    terminal: Option<OwnedFd>,
    killer: launch::Killer,
}

impl AttachInput for Input {
    /// A process that does not read any more is no error.
    fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        if stdin.as_mut().is_some_and(|file| file.write_all(bytes).is_err()) {
            *stdin = None;
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        if self.terminal.is_none() {
            *self.stdin.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Ok(())
    }

    fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        set_window_size(terminal.as_fd(), WindowSize { rows, columns })
            .map_err(|error| Error::internal("resize the terminal", error))
    }

    fn signal(&self, signal: &str) -> Result<()> {
        Ok(self.killer.kill(signal::parse(signal)?)?)
    }
}

/// Standard output (or the terminal) and standard error, each until its end.
struct Output([Option<File>; 2]);

impl Output {
    /// The streams that are open.
    fn open(&self) -> Vec<(usize, BorrowedFd<'_>)> {
        let files = self.0.iter().enumerate();
        files.filter_map(|(index, file)| file.as_ref().map(|file| (index, file.as_fd()))).collect()
    }

    fn read(&mut self, index: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; CHUNK];
        match self.0[index].as_mut()?.read(&mut bytes) {
            Ok(count) if count > 0 => {
                bytes.truncate(count);
                Some(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            // The end; a terminal that nobody has open any more answers with an error.
            _ => {
                self.0[index] = None;
                None
            }
        }
    }
}

impl AttachOutput for Output {
    fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            let open = self.open();
            if open.is_empty() {
                return Ok(None);
            }
            let (indexes, fds): (Vec<usize>, Vec<BorrowedFd<'_>>) = open.into_iter().unzip();
            let ready =
                poll_readable(&fds, None).map_err(|error| Error::internal("wait for output", error))?;
            for (index, _) in indexes.into_iter().zip(ready).filter(|(_, ready)| *ready) {
                if let Some(bytes) = self.read(index) {
                    let stream = if index == 0 { Stream::Stdout } else { Stream::Stderr };
                    return Ok(Some(Chunk { stream, bytes }));
                }
            }
        }
    }
}

struct Exit(Running);

impl AttachExit for Exit {
    fn wait(&mut self) -> Result<i32> {
        Ok(self.0.wait()?.code)
    }
}
