//! What a container wrote, kept on disk as Docker's `json-file` driver keeps it.

mod read;
mod write;

use serde::{Deserialize, Serialize};

use crate::attach::Stream;
use crate::containers::{Containers, Records};
use crate::{CancellationToken, Result};
pub(crate) use write::LogWriter;

/// The log's name in the container's directory.
pub(crate) const FILE: &str = "log.json";
/// The name of the part before it, once there is one.
pub(crate) const OLDER: &str = "log.json.1";

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

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    log: String,
    stream: String,
    time: String,
}

impl Containers<'_> {
    /// What a container wrote.
    pub fn logs(&self, name: &str, options: &LogOptions) -> Result<LogIter> {
        self.logs_until(name, options, CancellationToken::new())
    }

    /// The same for somebody who may have enough: where it follows, it ends soon after `stop`.
    pub fn logs_until(&self, name: &str, options: &LogOptions, stop: CancellationToken) -> Result<LogIter> {
        let record = Records::of(self.engine).find(name)?;
        let directory = record.directory(self.engine.store().root());
        read::open(&directory, options, stop)
    }
}
