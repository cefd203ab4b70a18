//! What a container wrote, kept on disk.

use crate::attach::Stream;
use crate::containers::Containers;
use crate::{Error, Result};

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Wait for more until the container ends.
    pub follow: bool,
    /// The last lines only.
    pub tail: Option<usize>,
    /// Not before this RFC 3339 time.
    pub since: Option<String>,
    /// Not after this RFC 3339 time.
    pub until: Option<String>,
}

/// One piece of a log: a line, or a part of a long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// When it was written, RFC 3339 with nanoseconds.
    pub time: String,
    /// Where it was written.
    pub stream: Stream,
    /// The bytes with their line feed, where they had one.
    pub bytes: Vec<u8>,
}

/// Entries of a log, oldest first; blocks while it follows.
pub type LogIter = Box<dyn Iterator<Item = Result<LogEntry>> + Send>;

impl Containers<'_> {
    /// What a container wrote.
    pub fn logs(&self, name: &str, options: &LogOptions) -> Result<LogIter> {
        let _ = (name, options);
        Err(Error::not_implemented("`logs`"))
    }
}
