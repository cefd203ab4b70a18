//! Text of others made harmless for a terminal.

use std::borrow::Cow;

/// `text` without what steers a terminal: control characters, escape sequences other than colours, and characters
/// that turn the direction of writing. What is taken out shows as its escape, such as `\x07` or `\u{202e}`.
pub(crate) fn neutral(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match colour(rest) {
            Some(length) => {
                clean.push_str(&rest[..length]);
                length
            }
            None => {
                push(&mut clean, c);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    Cow::Owned(clean)
}

fn push(clean: &mut String, c: char) {
    match c {
        c if !steers(c) => clean.push(c),
        c if (c as u32) < 0x100 => clean.push_str(&format!("\\x{:02x}", c as u32)),
        c => clean.extend(c.escape_unicode()),
    }
}

/// C0 but tab and line feed, DEL, C1, and the characters of bidirectional writing.
fn steers(c: char) -> bool {
    matches!(c, '\0'..='\x08' | '\x0b'..='\x1f' | '\x7f'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{61c}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The length of a colour sequence (SGR: `ESC [ digits ; … m`) at the start of `text`.
fn colour(text: &str) -> Option<usize> {
    let body = text.strip_prefix("\x1b[")?;
    let end = body.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    (body[end..].starts_with('m') && end <= 32).then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_and_all_else_that_steers_goes() {
        let kept = ["plain", "\x1b[31mred\x1b[0m", "\x1b[1;38;5;200mx\x1b[m", "tab\tand\nline", "ünïcödé 中"];
        for text in kept {
            assert_eq!(neutral(text), text);
        }
        let corpus = [
            "\x1b[2J",
            "\x1b[H",
            "\x1b]0;title\x07",
            "\x1b]8;;http://x\x1b\\",
            "\x1bP+q\x1b\\",
            "\x1b(0",
            "\x1bc",
            "\x1b[?1049h",
            "\x1b[6n",
            "\x08",
            "\x07",
            "\0",
            "\x7f",
            "\u{9b}2J",
            "\u{85}",
            "\u{202e}abc",
            "\u{2066}x",
            "a\rb",
            "\x1b[31",
            "\x1b[",
            "\x1b",
            "\x1b[1;x;m",
            "\x0b\x0c",
            "\x1b[5;5H",
            "\x1b[>c",
            "\u{200f}",
        ];
        for text in corpus {
            let clean = neutral(text);
            assert!(!clean.chars().any(steers), "{text:?} became {clean:?}");
        }
        assert_eq!(neutral("a\x1b[2Jb\u{202e}"), "a\\x1b[2Jb\\u{202e}");
    }
}
