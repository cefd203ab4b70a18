//! Another process in a running container.

use std::fmt;

use crate::attach::Attach;
use crate::containers::Containers;
use crate::{Error, Result};

/// What `exec` runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `NAME=value`, after the container's.
    pub env: Vec<String>,
    /// `user[:group]`; `None` takes the container's.
    pub user: Option<String>,
    /// The working directory; `None` takes the container's.
    pub working_dir: Option<String>,
    /// Whether a terminal is allocated.
    pub tty: bool,
    /// Whether standard input is sent.
    pub open_stdin: bool,
    /// All capabilities.
    pub privileged: bool,
    /// Do not wait for it: it outlives the caller.
    pub detach: bool,
    /// Size of the caller's terminal: `(rows, columns)`.
    pub size: Option<(u16, u16)>,
}

/// A process that `exec` started.
pub trait ExecProcess: Send {
    /// Waits for its end and gives its exit code. Blocks.
    fn wait(&mut self) -> Result<i32>;
}

/// A running exec.
pub struct Exec {
    /// Its streams; `None` when detached.
    pub attach: Option<Attach>,
    /// Its end.
    pub process: Box<dyn ExecProcess>,
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exec")
    }
}

impl Containers<'_> {
    /// Starts another process in a running container.
    pub fn exec(&self, name: &str, options: &ExecOptions) -> Result<Exec> {
        let _ = (name, options);
        Err(Error::not_implemented("`exec`"))
    }
}
