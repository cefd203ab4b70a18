//! The streams of a container or an exec, from the side of whoever watches.

use std::fmt;
use std::sync::Arc;

use crate::Result;

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
