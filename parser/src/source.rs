//! The text of a Dockerfile and places in it.

use std::sync::Arc;

/// Largest Dockerfile in bytes.
pub const MAX_SOURCE: usize = 16 << 20;

/// A Dockerfile's name and text.
#[derive(Debug, Clone)]
pub struct SourceFile {
    name: String,
    text: Arc<str>,
    valid_utf8: bool,
}

impl SourceFile {
    /// A file whose text is at hand.
    pub fn new(name: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        SourceFile { name: name.into(), text: text.into(), valid_utf8: true }
    }

    /// A file as read; bytes that are no UTF-8 are replaced, and `parse` says so.
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let valid_utf8 = matches!(text, std::borrow::Cow::Borrowed(_));
        SourceFile { name: name.into(), text: text.into(), valid_utf8 }
    }

    /// The name that messages show, for example `Dockerfile`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether no byte had to be replaced.
    pub fn is_valid_utf8(&self) -> bool {
        self.valid_utf8
    }
}

/// Lines of a file, from 1, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span {
    /// The first line.
    pub first: u32,
    /// The last line.
    pub last: u32,
}

impl Span {
    /// The lines from `first` to `last`.
    pub fn new(first: u32, last: u32) -> Self {
        Span { first, last }
    }

    /// One line.
    pub fn line(line: u32) -> Self {
        Span { first: line, last: line }
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}
