//! The documents that the client has open.

use std::collections::BTreeMap;

use kiln_engine::dockerfile::{Document, MAX_SOURCE, SourceFile};

use super::position::{Encoding, Lines};
use super::protocol::Change;

/// Most documents that are open at once.
const MAX_DOCUMENTS: usize = 1000;

/// An open document: its text, parsed.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) version: i32,
    pub(super) document: Document,
    pub(super) lines: Lines,
}

impl Open {
    fn new(uri: &str, version: i32, text: String, encoding: Encoding) -> Self {
        let lines = Lines::new(&text, encoding);
        let name = uri.rsplit('/').next().unwrap_or(uri);
        Open { version, document: Document::new(SourceFile::new(name, text)), lines }
    }

    pub(super) fn text(&self) -> &str {
        self.document.source().text()
    }
}

/// Documents by URI.
#[derive(Debug, Default)]
pub(super) struct Documents {
    open: BTreeMap<String, Open>,
    pub(super) encoding: Encoding,
}

impl Documents {
    pub(super) fn get(&self, uri: &str) -> Option<&Open> {
        self.open.get(uri)
    }

    /// Takes a document over; the error says why it is not.
    pub(super) fn open(&mut self, uri: &str, version: i32, text: String) -> Result<(), String> {
        if text.len() > MAX_SOURCE {
            self.open.remove(uri);
            return Err(format!("`{uri}` is larger than {} MiB", MAX_SOURCE >> 20));
        }
        if self.open.len() >= MAX_DOCUMENTS && !self.open.contains_key(uri) {
            return Err(format!("`{uri}` is one more than the {MAX_DOCUMENTS} documents that can be open"));
        }
        self.open.insert(uri.to_owned(), Open::new(uri, version, text, self.encoding));
        Ok(())
    }

    /// Applies changes in order; each range is one of the text after the change before.
    pub(super) fn change(&mut self, uri: &str, version: i32, changes: Vec<Change>) -> Result<(), String> {
        let Some(open) = self.open.get(uri) else { return Err(format!("`{uri}` is not open")) };
        let mut text = open.text().to_owned();
        for change in changes {
            match change.range {
                Some(range) => {
                    let bytes = Lines::new(&text, self.encoding).bytes(&text, range);
                    text.replace_range(bytes, &change.text);
                }
                None => text = change.text,
            }
        }
        self.open(uri, version, text)
    }

    pub(super) fn close(&mut self, uri: &str) {
        self.open.remove(uri);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsp::protocol::{Position, Range};

    fn change(from: (u32, u32), to: (u32, u32), text: &str) -> Change {
        let place = |(line, character)| Position { line, character };
        Change { range: Some(Range { start: place(from), end: place(to) }), text: text.to_owned() }
    }

    #[test]
    fn changes_follow_each_other() {
        let mut documents = Documents::default();
        documents.open("file:///a/Dockerfile", 1, "FROM ä\r\nRUN x\r\n".to_owned()).unwrap();
        let changes = vec![
            change((0, 5), (0, 6), "alpine\nUSER y"),
            change((2, 0), (3, 0), ""),
            change((9, 0), (9, 9), "# end"),
        ];
        documents.change("file:///a/Dockerfile", 2, changes).unwrap();
        let open = documents.get("file:///a/Dockerfile").unwrap();
        assert_eq!((open.text(), open.version), ("FROM alpine\nUSER y\r\n# end", 2));
        assert_eq!(open.document.source().name(), "Dockerfile");
        let all = Change { range: None, text: "FROM b".to_owned() };
        documents.change("file:///a/Dockerfile", 3, vec![all]).unwrap();
        assert_eq!(documents.get("file:///a/Dockerfile").unwrap().text(), "FROM b");
    }

    #[test]
    fn what_is_not_open_or_too_much_is_refused() {
        let mut documents = Documents::default();
        assert!(documents.change("x", 1, Vec::new()).is_err());
        documents.open("x", 1, String::new()).unwrap();
        let large = Change { range: None, text: "#".repeat(MAX_SOURCE + 1) };
        assert!(documents.change("x", 2, vec![large]).unwrap_err().contains("16 MiB"));
        assert!(documents.get("x").is_none());
        (0..MAX_DOCUMENTS).for_each(|n| documents.open(&n.to_string(), 1, String::new()).unwrap());
        assert!(documents.open("x", 1, String::new()).is_err());
        documents.close("0");
        assert!(documents.open("x", 1, String::new()).is_ok());
    }
}
