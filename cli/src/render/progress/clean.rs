//! What a program writes, without what steers a terminal: text, colours and ends of lines are all that is left.
//!
//! The bytes come in pieces that end anywhere, so the state between them is kept. A sequence that has no end is over
//! with its line: it cannot hide what follows.

/// The longest control sequence or string that is waited for, in characters.
const MAX_SEQUENCE: usize = 4096;
/// The longest parameters of a colour.
const MAX_COLOUR: usize = 32;

/// A part of what a program wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Characters, and tabs.
    Text(&'a str),
    /// A sequence that changes colours (SGR), whole.
    Colour(&'a str),
    /// The line begins again.
    Return,
    /// The line ends.
    End,
}

/// Where in a sequence the next character is.
#[derive(Debug, Default)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After `ESC [`: the parameters.
    Sequence(String),
    /// In a string that a terminal would take for a title, a link or a picture, and how long it is.
    Quoted(usize),
    /// After ESC in such a string.
    QuotedEscape,
}

/// Takes one stream apart.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    /// Whether colours are passed on.
    coloured: bool,
    state: State,
    /// The first bytes of a character whose others are still to come.
    rest: Vec<u8>,
}

impl Cleaner {
    /// A stream that begins; colours are passed on only if they are wanted.
    pub(super) fn new(coloured: bool) -> Self {
        Cleaner { coloured, ..Cleaner::default() }
    }

    /// Hands the parts of the next `bytes` to `take`. Bytes that are no UTF-8 become replacement characters.
    pub(super) fn feed(&mut self, bytes: &[u8], take: &mut dyn FnMut(Part<'_>)) {
        let mut joined = std::mem::take(&mut self.rest);
        let bytes = match joined.is_empty() {
            true => bytes,
            false => {
                joined.extend_from_slice(bytes);
                &joined
            }
        };
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.text(chunk.valid(), take);
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && is_cut_short(invalid) {
                self.rest = invalid.to_vec();
            } else if !invalid.is_empty() {
                self.text("\u{fffd}", take);
            }
        }
    }

    fn text(&mut self, mut text: &str, take: &mut dyn FnMut(Part<'_>)) {
        while !text.is_empty() {
            let plain = match self.state {
                State::Text => text.find(is_special).unwrap_or(text.len()),
                _ => 0,
            };
            if plain > 0 {
                take(Part::Text(&text[..plain]));
            }
            let mut rest = text[plain..].chars();
            if let Some(c) = rest.next() {
                self.state = self.after(c, take);
            }
            text = rest.as_str();
        }
    }

    /// The state after `c`.
    fn after(&mut self, c: char, take: &mut dyn FnMut(Part<'_>)) -> State {
        match (std::mem::take(&mut self.state), c) {
            (_, '\n') => {
                take(Part::End);
                State::Text
            }
            (State::Text | State::Escape | State::Sequence(_), '\r') => {
                take(Part::Return);
                State::Text
            }
            (State::Text, c) => in_text(c, take),
            (State::Escape | State::QuotedEscape, c) => after_escape(c),
            (State::Sequence(parameters), c) => self.in_sequence(parameters, c, take),
            (State::Quoted(_), '\x07' | '\u{9c}') => State::Text,
            (State::Quoted(_), '\x1b') => State::QuotedEscape,
            (State::Quoted(MAX_SEQUENCE), _) => State::Text,
            (State::Quoted(length), _) => State::Quoted(length + 1),
        }
    }

    fn in_sequence(&self, mut parameters: String, c: char, take: &mut dyn FnMut(Part<'_>)) -> State {
        match c {
            ' '..='?' if parameters.len() < MAX_SEQUENCE => {
                parameters.push(c);
                State::Sequence(parameters)
            }
            'm' if self.coloured && is_colour(&parameters) => {
                take(Part::Colour(&format!("\x1b[{parameters}m")));
                State::Text
            }
            '\0'..='~' if c != '\x1b' => State::Text,
            c => in_text(c, take),
        }
    }
}

/// A character of the text that needs a look.
fn is_special(c: char) -> bool {
    c != '\t' && (c.is_control() || turns(c))
}

/// The characters of bidirectional writing, which make text look like another.
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn in_text(c: char, take: &mut dyn FnMut(Part<'_>)) -> State {
    match c {
        '\x1b' => return State::Escape,
        // The one-character forms that terminals know too.
        '\u{9b}' => return State::Sequence(String::new()),
        '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => return State::Quoted(0),
        c if turns(c) => take(Part::Text(&c.escape_unicode().to_string())),
        c if !is_special(c) => take(Part::Text(c.encode_utf8(&mut [0; 4]))),
        _ => {}
    }
    State::Text
}

fn after_escape(c: char) -> State {
    match c {
        '[' => State::Sequence(String::new()),
        ']' | 'P' | 'X' | '^' | '_' => State::Quoted(0),
        // One more character says which; another ESC begins anew.
        ' '..='/' | '\x1b' => State::Escape,
        _ => State::Text,
    }
}

fn is_colour(parameters: &str) -> bool {
    parameters.len() <= MAX_COLOUR && parameters.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':'))
}

/// Whether these bytes can still become a character.
fn is_cut_short(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of `bytes`, fed in pieces of `size`; `<` is a return and `|` an end.
    fn cleaned(bytes: &[u8], size: usize, coloured: bool) -> String {
        let mut cleaner = Cleaner::new(coloured);
        let mut out = String::new();
        for piece in bytes.chunks(size) {
            cleaner.feed(piece, &mut |part| match part {
                Part::Text(text) | Part::Colour(text) => out.push_str(text),
                Part::Return => out.push('<'),
                Part::End => out.push('|'),
            });
        }
        out
    }

    #[test]
    fn only_text_and_ends_are_left_however_it_is_cut() {
        let cases: &[(&[u8], &str)] = &[
            (b"plain\ttext\n", "plain\ttext|"),
            (b"10%\r20%\r\n", "10%<20%<|"),
            ("中é\n".as_bytes(), "中é|"),
            (b"bad \xff byte \xe4\xb8\n", "bad \u{fffd} byte \u{fffd}|"),
            (b"a\x1b[2Jb\x1b[Hc\x1b[1;5Hd\x1b[?1049he\x1b[6nf\x1b[K", "abcdef"),
            (b"a\x1b]0;title\x07b\x1b]8;;http://x\x1b\\c\x1bP+q\x1b\\d", "abcd"),
            (b"a\x1bcb\x1b(0c\x1b7d\x1b#8e", "abcde"),
            (b"a\x07\x08\0\x7fb\x0b\x0cc", "abc"),
            ("a\u{9b}2Jb\u{9d}0;t\u{9c}c\u{85}".as_bytes(), "abc"),
            ("a\u{202e}b".as_bytes(), "a\\u{202e}b"),
            // Without an end: over with the line.
            (b"a\x1b]0;title\nb\x1b[12\nc\x1b\nd", "a|b|c|d"),
            (b"\x1b[31mred\x1b[0m\x1b[>4;2m\x1b[1;x", "red"),
            (b"a\x1b\x1b[2Jb\x1b[\x1b[2Jc", "abc"),
        ];
        for (bytes, expected) in cases {
            for size in [1, 2, 3, 100] {
                assert_eq!(cleaned(bytes, size, false), *expected, "{bytes:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn colours_are_passed_on_where_they_are_wanted() {
        let text = "\x1b[1;31mred\x1b[0m \x1b[38:5:200mx\x1b[m";
        assert_eq!(cleaned(text.as_bytes(), 1, true), text);
        assert_eq!(cleaned(b"\x1b[>4;2ma\x1b[31;x", 1, true), "a");
        assert_eq!(cleaned(format!("\x1b[{}mx", "1;".repeat(40)).as_bytes(), 7, true), "x");
    }

    #[test]
    fn an_endless_string_hides_little() {
        let text = format!("\x1b]0;{}end", "x".repeat(3 * MAX_SEQUENCE));
        assert!(cleaned(text.as_bytes(), 1000, false).ends_with("xend"));
    }
}
