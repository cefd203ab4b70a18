//! What a build is asked for with: its context and its Dockerfile, as they are named or handed over.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The files that COPY and ADD may take.
#[derive(Debug)]
pub enum Context {
    /// A folder of this machine, read in place.
    Folder(PathBuf),
    /// A git repository or a download: a tar, or a Dockerfile.
    Remote(String),
    /// A tar, compressed or not, or a Dockerfile without other files.
    Stream(Input),
    /// What whoever asked ([`super::Outside`]) has by this name.
    Given(String),
}

impl Default for Context {
    fn default() -> Self {
        Context::Folder(PathBuf::new())
    }
}

impl From<PathBuf> for Context {
    fn from(path: PathBuf) -> Self {
        Context::Folder(path)
    }
}

/// Bytes that can be read once.
pub struct Input(Mutex<Option<Box<dyn Read + Send>>>);

impl Input {
    /// What `reader` gives.
    pub fn new(reader: impl Read + Send + 'static) -> Self {
        Input(Mutex::new(Some(Box::new(reader))))
    }

    /// The reader, for whoever comes first.
    pub(super) fn take(&self) -> Option<Box<dyn Read + Send>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Input")
    }
}
