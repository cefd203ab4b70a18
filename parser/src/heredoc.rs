//! `<<NAME` words and the text that follows the line they are on.

use nom::Parser;
use nom::bytes::complete::tag;
use nom::character::complete::{char, digit0};
use nom::combinator::opt;

use crate::words::raw_words;

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

/// The heredocs that a line announces, still empty.
pub(crate) fn announced(line: &str) -> Vec<Heredoc> {
    if !line.contains("<<") {
        return Vec::new();
    }
    raw_words(line, '\\').into_iter().filter_map(word).collect()
}

/// Reads `[fd]<<[-]name`; the name may be quoted in whole or in part.
pub(crate) fn word(word: &str) -> Option<Heredoc> {
    let mut head = (digit0::<&str, nom::error::Error<&str>>, tag("<<"), opt(char('-')));
    let (name, (fd, _, chomp)) = head.parse(word).ok()?;
    if name.is_empty() || name.contains('<') || name.contains(char::is_whitespace) {
        return None;
    }
    let plain = unquote(name)?;
    let expand = plain == name;
    (!plain.is_empty()).then(|| Heredoc {
        name: plain,
        content: String::new(),
        expand,
        chomp: chomp.is_some(),
        fd: fd.to_owned(),
    })
}

/// Drops quotes and escapes; `None` where a quote is open.
fn unquote(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None | Some('"'), '\\') => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    quote.is_none().then_some(out)
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
        assert_eq!(names(r#"COPY <<"a b" /x"#), []);
    }

    #[test]
    fn what_looks_alike_announces_nothing() {
        for line in [
            "RUN cat <<<x",
            "RUN echo '<<EOF'",
            "RUN a << b",
            "RUN x<<EOF",
            "RUN [\"a\", \"<<EOF\"]",
            "RUN <<",
        ] {
            assert_eq!(names(line), [], "{line}");
        }
    }

    #[test]
    fn only_leading_tabs_are_chomped() {
        let heredoc = Heredoc { content: "\t\ta\tb\n  c\n".to_owned(), ..word("<<-E").unwrap() };
        assert_eq!(heredoc.text(), "a\tb\n  c\n");
    }
}
