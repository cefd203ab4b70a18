//! `<<NAME` words and the text that follows the line they are on.

use nom::Parser;
use nom::bytes::complete::tag;
use nom::character::complete::{char, digit0, multispace0};
use nom::combinator::opt;

use crate::words::heredoc_words;

/// A text given in the file itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it.
    pub name: String,
    /// The lines before that word, line feeds included.
    pub content: String,
    /// Whether variables in it are expanded (no part of the name was quoted).
    pub expand: bool,
    /// Whether leading tabs are dropped (`<<-`).
    pub chomp: bool,
    /// The file descriptor in front of `<<`, as written.
    pub fd: String,
}

impl Heredoc {
    /// The content, without leading tabs where `<<-` says so.
    pub fn text(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// The heredocs that a line announces, still empty. The escape is a backslash, whatever the file says.
pub(crate) fn announced(line: &str) -> Vec<Heredoc> {
    if !line.contains("<<") {
        return Vec::new();
    }
    let (words, open_quote) = heredoc_words(line);
    if open_quote { Vec::new() } else { words.into_iter().filter_map(word).collect() }
}

/// Reads `[fd]<<[-]name`; the name may be quoted in whole or in part, and white space may stand before it.
pub(crate) fn word(word: &str) -> Option<Heredoc> {
    let mut head = (digit0::<&str, nom::error::Error<&str>>, tag("<<"), opt(char('-')), multispace0);
    let (name, (fd, _, chomp, _)) = head.parse(word).ok()?;
    if name.contains('<') {
        return None;
    }
    let (plain, quoted) = unquote(name)?;
    (!plain.is_empty()).then(|| Heredoc {
        name: plain,
        content: String::new(),
        expand: !quoted,
        chomp: chomp.is_some(),
        fd: fd.to_owned(),
    })
}

/// Drops quotes and escapes, and says whether there were quotes; `None` for more than one word or an open quote.
fn unquote(text: &str) -> Option<(String, bool)> {
    let mut out = String::with_capacity(text.len());
    let (mut quote, mut quoted) = (None, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => (quote, quoted) = (Some(c), true),
            (None, _) if c.is_whitespace() => return None,
            (None, '\\') => out.extend(chars.next()),
            (Some(open), _) if open == c => quote = None,
            (Some('"'), '\\') => out.push(chars.next_if(|c| matches!(c, '"' | '$' | '\\')).unwrap_or(c)),
            _ => out.push(c),
        }
    }
    quote.is_none().then_some((out, quoted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<(String, bool, bool)> {
        announced(line).into_iter().map(|h| (h.name, h.expand, h.chomp)).collect()
    }

    #[test]
    fn words_announce_texts() {
        assert_eq!(names("RUN <<EOF"), [("EOF".to_owned(), true, false)]);
        assert_eq!(names("RUN cat <<-'E'OF 3<<b >x").len(), 2);
        assert_eq!(names("RUN cat <<-'E'OF")[0], ("EOF".to_owned(), false, true));
        assert_eq!(names(r#"RUN cat <<"a b" x"#), [("a b".to_owned(), false, false)]);
        assert_eq!(names("RUN cat <<  EOF"), [("EOF".to_owned(), true, false)]);
        assert_eq!(names(r"RUN cat <<\EOF"), [("EOF".to_owned(), true, false)]);
        assert_eq!(names(r#"RUN cat <<"a\"\b""#), [("a\"\\b".to_owned(), false, false)]);
    }

    #[test]
    fn item_22_what_looks_alike_announces_nothing() {
        for line in [
            "RUN cat <<<x",
            "RUN echo '<<EOF'",
            "RUN a <<- b",
            "RUN x<<EOF",
            "RUN [\"a\", \"<<EOF\"]",
            "RUN <<",
            "RUN it's <<EOF",
            "RUN <<''",
        ] {
            assert_eq!(names(line), [], "{line}");
        }
    }

    #[test]
    fn item_23_only_leading_tabs_are_chomped() {
        let heredoc = Heredoc { content: "\t\ta\tb\r\n  c\n".to_owned(), ..word("<<-E").unwrap() };
        assert_eq!(heredoc.text(), "a\tb\r\n  c\n");
    }
}
