//! Path patterns: Go's `filepath.Match`, and the same with `**` as `.dockerignore` has it.

use std::fmt;

/// Longest pattern accepted, in bytes.
pub const MAX_PATTERN: usize = 16 * 1024;

/// A compiled pattern. Matching takes time proportional to pattern × path, whatever is in them.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    tokens: Vec<Token>,
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a pattern: {reason}")]
pub struct PatternError {
    pattern: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(u32),
    /// `?`
    One,
    /// `*`
    Many,
    /// `[…]`
    Class {
        negated: bool,
        ranges: Vec<(u32, u32)>,
    },
    /// `**` at the end: whatever follows.
    Rest,
    /// `**/`: any number of whole directories, none of them entered yet.
    Directories,
    /// Always behind `Directories`: inside one.
    InDirectory,
}

const SLASH: u32 = b'/' as u32;

impl Pattern {
    /// A pattern of Go's `filepath.Match`: `*`, `?`, `[a-z]`, `[^a]` and `\x`, none of which matches `/`.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        Pattern::compile(text, false)
    }

    /// The same with `**`, which matches any number of directories.
    pub fn with_double_star(text: &str) -> Result<Self, PatternError> {
        Pattern::compile(text, true)
    }

    fn compile(text: &str, double_star: bool) -> Result<Self, PatternError> {
        let fail = |reason| PatternError { pattern: text.chars().take(200).collect(), reason };
        if text.len() > MAX_PATTERN {
            return Err(fail("it is longer than 16 KiB"));
        }
        let mut rest = text.chars().peekable();
        let mut tokens = Vec::new();
        while let Some(c) = rest.next() {
            let token = match c {
                '*' if double_star && rest.next_if_eq(&'*').is_some() => {
                    rest.next_if_eq(&'/');
                    if rest.peek().is_none() {
                        Token::Rest
                    } else {
                        tokens.push(Token::Directories);
                        Token::InDirectory
                    }
                }
                '*' => Token::Many,
                '?' => Token::One,
                '[' => class(&mut rest).map_err(fail)?,
                '\\' => Token::Literal(rest.next().ok_or_else(|| fail("it ends in a backslash"))?.into()),
                literal => Token::Literal(literal.into()),
            };
            tokens.push(token);
        }
        tokens.dedup_by(|next, last| *next == Token::Many && *last == Token::Many);
        Ok(Pattern { text: text.to_owned(), tokens })
    }

    /// The text it was made of.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole of `path` matches.
    ///
    /// A set of states is carried along, so nothing is ever tried twice.
    pub fn matches(&self, path: &[u8]) -> bool {
        let mut states = vec![false; self.tokens.len() + 2];
        let mut next = states.clone();
        states[0] = true;
        self.skip_empty(&mut states);
        for c in characters(path) {
            next.fill(false);
            for (at, token) in self.tokens.iter().enumerate().filter(|(at, _)| states[*at]) {
                let (stays, passes) = token.take(c);
                next[at] |= stays;
                next[at + 1] |= passes;
            }
            self.skip_empty(&mut next);
            std::mem::swap(&mut states, &mut next);
            if !states.contains(&true) {
                return false;
            }
        }
        states[self.tokens.len()]
    }

    /// Marks what can be reached without a character.
    fn skip_empty(&self, states: &mut [bool]) {
        for (at, token) in self.tokens.iter().enumerate() {
            if !states[at] {
                continue;
            }
            match token {
                Token::Many | Token::Rest => states[at + 1] = true,
                Token::Directories => (states[at + 1], states[at + 2]) = (true, true),
                _ => {}
            }
        }
    }
}

impl Token {
    /// Whether the token stays, and whether it is passed, on `c`.
    fn take(&self, c: u32) -> (bool, bool) {
        match self {
            Token::Literal(literal) => (false, *literal == c),
            Token::One => (false, c != SLASH),
            Token::Class { negated, ranges } => {
                let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                (false, c != SLASH && inside != *negated)
            }
            Token::Many => (c != SLASH, false),
            Token::Rest => (true, false),
            Token::Directories => (false, false),
            Token::InDirectory => (true, c == SLASH),
        }
    }
}

/// The part of a class behind its `[`.
fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, &'static str> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.next_if_eq(&']').is_some() {
            return Ok(Token::Class { negated, ranges });
        }
        let low = class_character(rest)?;
        let high = if rest.next_if_eq(&'-').is_some() { class_character(rest)? } else { low };
        ranges.push((low, high));
    }
}

fn class_character(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<u32, &'static str> {
    const UNCLOSED: &str = "its `[` is not closed";
    match rest.next() {
        None => Err(UNCLOSED),
        Some('-' | ']') => Err("a range in its `[…]` is malformed"),
        Some('\\') => rest.next().map(u32::from).ok_or(UNCLOSED),
        Some(c) => Ok(c.into()),
    }
}

/// The path's characters; a byte that is not UTF-8 is a character of its own, outside Unicode.
fn characters(path: &[u8]) -> impl Iterator<Item = u32> {
    path.utf8_chunks().flat_map(|chunk| {
        let invalid = chunk.invalid().iter().map(|byte| 0x11_0000 + u32::from(*byte));
        chunk.valid().chars().map(u32::from).chain(invalid)
    })
}

/// Whether a text has characters with a meaning in patterns.
pub fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_star_stays_in_its_component() {
        let cases = [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
            ("a???b", "a\u{263a}b", false),
            ("a?b", "a\u{263a}b", true),
            ("a[^a]b", "a\u{263a}b", true),
            ("a[a-z]b", "amb", true),
            ("*x", "xxx", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("[^/]", "/", false),
            ("", "", true),
            ("*", "", true),
            ("**", "a/b", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(
                Pattern::new(pattern).unwrap().matches(path.as_bytes()),
                expected,
                "{pattern} on {path}"
            );
        }
    }

    #[test]
    fn double_star_crosses_components() {
        let cases = [
            ("**", "a/b/c", true),
            ("**/f", "f", true),
            ("**/f", "a/b/f", true),
            ("**/f", "af", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "ab", false),
            ("a/**", "a/b/c", true),
            ("**/*.go", "a/b.go", true),
            ("**/*.go", "b.go", true),
            ("**/*.go", "b.god", false),
            ("a/**", "b/a", false),
        ];
        for (pattern, path, expected) in cases {
            let pattern = Pattern::with_double_star(pattern).unwrap();
            assert_eq!(pattern.matches(path.as_bytes()), expected, "{pattern:?} on {path}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for text in ["[", "[]", "[]a]", "[a", "[^", "[-]", "a\\", "[a-", "[x-]"] {
            assert!(Pattern::new(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_is_matched_byte_by_byte() {
        assert!(Pattern::new("a?b").unwrap().matches(b"a\xffb"));
        assert!(!Pattern::new("a?b").unwrap().matches(b"a\xff\xfeb"));
    }
}
