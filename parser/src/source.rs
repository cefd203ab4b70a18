//! The text of a Dockerfile and places in it.

use std::sync::{Arc, OnceLock};

/// Largest Dockerfile in bytes.
pub const MAX_SOURCE: usize = 16 << 20;
/// Most places without UTF-8 that are remembered.
const MAX_BROKEN: usize = 100;

/// A Dockerfile's name and text.
#[derive(Debug, Clone)]
pub struct SourceFile {
    name: String,
    text: Arc<str>,
    broken: Vec<Broken>,
    utf16: bool,
    /// Where each line begins; made when the first line is asked for.
    starts: OnceLock<Arc<[usize]>>,
}

/// A byte that is part of no UTF-8 character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// Its line, from 1.
    pub line: u32,
    /// Its place among the bytes of the line, from 1.
    pub column: u32,
    /// The byte.
    pub byte: u8,
}

impl SourceFile {
    /// A file whose text is at hand.
    pub fn new(name: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        let (name, text) = (name.into(), text.into());
        SourceFile { name, text, broken: Vec::new(), utf16: false, starts: OnceLock::new() }
    }

    /// A file as read; bytes that are no UTF-8 are replaced, and `parse` says so.
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Self {
        SourceFile {
            broken: broken(bytes),
            utf16: bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff"),
            ..SourceFile::new(name, String::from_utf8_lossy(bytes))
        }
    }

    /// The name that messages show, for example `Dockerfile`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The bytes that had to be replaced, the first of each line, as many as are remembered.
    pub fn broken(&self) -> &[Broken] {
        &self.broken
    }

    /// Whether the file begins as UTF-16 does.
    pub fn is_utf16(&self) -> bool {
        self.utf16
    }

    /// A line, from 1, without its end; `None` after the last. A final line feed has an empty line behind it.
    pub fn line(&self, number: u32) -> Option<&str> {
        let starts = self.starts.get_or_init(|| {
            let feeds = self.text.match_indices('\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(feeds).collect()
        });
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let start = *starts.get(index)?;
        let end = starts.get(index + 1).map_or(self.text.len(), |next| next - 1);
        let line = &self.text[start..end];
        Some(line.strip_suffix('\r').unwrap_or(line))
    }
}

/// The first broken byte of each line.
fn broken(bytes: &[u8]) -> Vec<Broken> {
    let mut found: Vec<Broken> = Vec::new();
    let (mut line, mut column) = (1, 1);
    for chunk in bytes.utf8_chunks() {
        let feeds = chunk.valid().bytes().filter(|byte| *byte == b'\n').count();
        let rest = chunk.valid().len() - chunk.valid().rfind('\n').map_or(0, |at| at + 1);
        line += feeds as u32;
        column = if feeds > 0 { 1 + rest as u32 } else { column + rest as u32 };
        let Some(byte) = chunk.invalid().first() else { continue };
        if found.last().is_none_or(|last| last.line != line) {
            found.push(Broken { line, column, byte: *byte });
        }
        if found.len() == MAX_BROKEN {
            break;
        }
        column += chunk.invalid().len() as u32;
    }
    found
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_number() {
        let source = SourceFile::new("D", "a\r\n\nb");
        let lines: Vec<Option<&str>> = (0..5).map(|number| source.line(number)).collect();
        assert_eq!(lines, [None, Some("a"), Some(""), Some("b"), None]);
        assert_eq!(SourceFile::new("D", "a\n").line(2), Some(""));
    }

    #[test]
    fn broken_bytes_have_a_place() {
        let source = SourceFile::from_bytes("D", b"FROM a\n# \xfc\xfc b\n\xc3\xa4\xff");
        let at = |line, column, byte| Broken { line, column, byte };
        assert_eq!(source.broken(), [at(2, 3, 0xfc), at(3, 3, 0xff)]);
        assert!(!source.is_utf16() && SourceFile::from_bytes("D", b"\xff\xfeF\0").is_utf16());
    }
}
