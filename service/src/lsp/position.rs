//! Places as the protocol counts them: lines from 0, and in a line UTF-16 units or bytes.

use std::ops::Range;

use super::protocol;

/// What a character of a line is counted in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    /// What every client knows.
    #[default]
    Utf16,
    /// Bytes, where the client offers it.
    Utf8,
}

impl Encoding {
    /// The name in the protocol.
    pub(super) fn name(self) -> &'static str {
        match self {
            Encoding::Utf16 => "utf-16",
            Encoding::Utf8 => "utf-8",
        }
    }

    fn units(self, c: char) -> usize {
        match self {
            Encoding::Utf16 => c.len_utf16(),
            Encoding::Utf8 => c.len_utf8(),
        }
    }
}

/// Where the lines of a text are. A line ends with a line feed, a carriage return, or both.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    starts: Vec<usize>,
    encoding: Encoding,
}

impl Lines {
    pub(super) fn new(text: &str, encoding: Encoding) -> Self {
        let bytes = text.as_bytes();
        let ends = |at: &usize| match bytes[*at] {
            b'\n' => true,
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        let starts = std::iter::once(0).chain((0..bytes.len()).filter(ends).map(|at| at + 1)).collect();
        Lines { starts, encoding }
    }

    /// The byte at a place; a place outside a line is its end, one outside the text is the end of the text.
    pub(super) fn offset(&self, text: &str, position: protocol::Position) -> usize {
        let Some(start) = self.starts.get(position.line as usize) else { return text.len() };
        let end = self.starts.get(position.line as usize + 1).map_or(text.len(), |next| *next);
        let line = text[*start..end].trim_end_matches(['\r', '\n']);
        let mut left = position.character as usize;
        let mut at = *start;
        for c in line.chars() {
            let units = self.encoding.units(c);
            if units > left {
                break;
            }
            left -= units;
            at += c.len_utf8();
        }
        at
    }

    /// The place of a byte.
    pub(super) fn position(&self, text: &str, offset: usize) -> protocol::Position {
        let offset = text.floor_char_boundary(offset);
        let line = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let before = &text[self.starts[line]..offset];
        let character = before.chars().map(|c| self.encoding.units(c)).sum::<usize>();
        protocol::Position { line: line as u32, character: character as u32 }
    }

    /// The places of both ends.
    pub(super) fn range(&self, text: &str, bytes: &Range<usize>) -> protocol::Range {
        protocol::Range { start: self.position(text, bytes.start), end: self.position(text, bytes.end) }
    }

    /// The bytes between two places, in whichever order they are.
    pub(super) fn bytes(&self, text: &str, range: protocol::Range) -> Range<usize> {
        let (start, end) = (self.offset(text, range.start), self.offset(text, range.end));
        start.min(end)..start.max(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a\r\nöx𐐀y\rz\n";

    fn at(encoding: Encoding, line: u32, character: u32) -> usize {
        Lines::new(TEXT, encoding).offset(TEXT, protocol::Position { line, character })
    }

    #[test]
    fn characters_are_counted_as_agreed() {
        assert_eq!(TEXT[at(Encoding::Utf16, 1, 4)..].chars().next(), Some('y'));
        assert_eq!(TEXT[at(Encoding::Utf8, 1, 7)..].chars().next(), Some('y'));
        assert_eq!(TEXT[at(Encoding::Utf16, 2, 0)..].chars().next(), Some('z'));
    }

    #[test]
    fn places_outside_and_inside_characters_are_moved_back() {
        assert_eq!(TEXT[at(Encoding::Utf16, 1, 3)..].chars().next(), Some('𐐀'));
        assert_eq!(TEXT[at(Encoding::Utf8, 1, 1)..].chars().next(), Some('ö'));
        assert_eq!(at(Encoding::Utf16, 0, 99), 1);
        assert_eq!(at(Encoding::Utf16, 99, 0), TEXT.len());
        assert_eq!(at(Encoding::Utf16, u32::MAX, u32::MAX), TEXT.len());
    }

    #[test]
    fn there_and_back_is_the_same_place() {
        for encoding in [Encoding::Utf8, Encoding::Utf16] {
            let lines = Lines::new(TEXT, encoding);
            for (offset, c) in TEXT.char_indices().filter(|(_, c)| *c != '\n') {
                assert_eq!(lines.offset(TEXT, lines.position(TEXT, offset)), offset, "{c:?}");
            }
            assert_eq!(lines.position(TEXT, usize::MAX).line, 3);
        }
    }
}
