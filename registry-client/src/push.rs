//! Blobs and manifests on their way out.

use std::io::{self, Read};

/// A blob's content, which can be opened again for another attempt. Opened and read on a blocking thread.
pub trait BlobSource: Send + Sync + 'static {
    /// Opens the content from its start.
    fn open(&self) -> io::Result<Box<dyn Read + Send>>;
}

/// How a blob came to be in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry took it from another repository.
    Mounted,
    /// Its bytes were sent.
    Uploaded,
}
