//! Columns of a terminal: how many a text takes, and a text cut to some.

use unicode_width::UnicodeWidthChar as _;

/// Columns from one tab stop to the next.
const TAB: usize = 8;
/// Ends all colours.
pub(super) const RESET: &str = "\x1b[0m";

/// The columns that a text takes in which colours are the only sequences. A character at a time: where a terminal makes
/// one picture of several characters that is too many rather than too few.
pub(super) fn columns(text: &str) -> usize {
    let mut used = 0;
    for (_, piece) in Pieces(text) {
        used = piece.end(used);
    }
    used
}

/// `text` cut to `width` columns, its tabs as spaces, its colours ended.
pub(super) fn cut(text: &str, width: usize) -> String {
    let (mut out, mut used, mut coloured) = (String::with_capacity(text.len()), 0, false);
    for (slice, piece) in Pieces(text) {
        let end = piece.end(used);
        if end > width {
            break;
        }
        match piece {
            Piece::Tab => out.extend(std::iter::repeat_n(' ', end - used)),
            Piece::Colour | Piece::Columns(_) => out.push_str(slice),
        }
        coloured |= matches!(piece, Piece::Colour);
        used = end;
    }
    if coloured && !out.ends_with(RESET) {
        out.push_str(RESET);
    }
    out
}

/// `left` and, at the end of `width` columns, `right`; `left` gives way.
pub(super) fn spread(left: &str, right: &str, width: usize) -> String {
    let room = width.saturating_sub(columns(right) + 1);
    let left = cut(left, room);
    let gap = room.saturating_sub(columns(&left)) + 1;
    format!("{left}{:gap$}{right}", "")
}

#[derive(Debug, Clone, Copy)]
enum Piece {
    Colour,
    Tab,
    Columns(usize),
}

impl Piece {
    /// The column after it.
    fn end(self, column: usize) -> usize {
        match self {
            Piece::Colour => column,
            Piece::Tab => (column / TAB + 1) * TAB,
            Piece::Columns(count) => column + count,
        }
    }
}

/// Characters, and colours as one piece each.
struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = (&'a str, Piece);

    fn next(&mut self) -> Option<Self::Item> {
        let c = self.0.chars().next()?;
        let (length, piece) = match c {
            '\x1b' => (self.0.find('m').map_or(1, |end| end + 1), Piece::Colour),
            '\t' => (1, Piece::Tab),
            c => (c.len_utf8(), Piece::Columns(c.width().unwrap_or(0))),
        };
        let (slice, rest) = self.0.split_at(length);
        self.0 = rest;
        Some((slice, piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_marks_tabs_and_colours() {
        let cases = [
            ("abc", 3),
            ("中文", 4),
            ("e\u{301}", 1),
            ("\u{200b}x", 1),
            ("🦀", 2),
            ("a\tb", 9),
            ("12345678\t", 16),
            ("\x1b[1;31mred\x1b[0m", 3),
        ];
        for (text, expected) in cases {
            assert_eq!(columns(text), expected, "{text:?}");
        }
    }

    #[test]
    fn cutting_counts_what_is_seen() {
        let cases = [
            ("abcdef", 3, "abc"),
            ("中文", 3, "中"),
            ("ab", 3, "ab"),
            ("a\tbc", 9, "a       b"),
            ("a\tbc", 5, "a"),
            ("\x1b[31mabcdef", 3, "\x1b[31mabc\x1b[0m"),
            ("\x1b[31mabc\x1b[0m", 3, "\x1b[31mabc\x1b[0m"),
        ];
        for (text, width, expected) in cases {
            assert_eq!(cut(text, width), expected, "{text:?}");
        }
        assert_eq!(spread("left", "right", 12), "left   right");
        assert_eq!(spread("left", "right", 8), "le right");
        assert_eq!(spread("中文", "1s", 6), "中  1s");
    }
}
