//! Another process in a running container.

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

impl Containers<'_> {
    /// Starts another process in a running container; `None` if it is detached.
    pub fn exec(&self, name: &str, options: &ExecOptions) -> Result<Option<Attach>> {
        let _ = (name, options);
        Err(Error::not_implemented("`exec`"))
    }
}
