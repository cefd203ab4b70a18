//! Changes that take a complaint away.

use std::ops::Range;

use super::joined::{Joined, range_of};
use super::place::suggestion;
use super::{Document, stages};
use crate::format::{Rewrite, rewrites};
use crate::words::raw_words;
use crate::{Diagnostic, SourceFile};

/// A change that takes a complaint away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// What it does, for a menu.
    pub title: String,
    /// Which of the document's diagnostics it answers.
    pub diagnostic: usize,
    /// What changes.
    pub rewrites: Vec<Rewrite>,
}

/// The changes that there are for complaints about lines in a range of bytes.
pub fn fixes(document: &Document, bytes: &Range<usize>) -> Vec<Fix> {
    let of = |(index, diagnostic): (usize, &Diagnostic)| {
        let lines = document.bytes_of(diagnostic.span?);
        if lines.end < bytes.start || bytes.end < lines.start {
            return None;
        }
        let (title, rewrites) = fix(document, diagnostic, &lines)?;
        Some(Fix { title, diagnostic: index, rewrites })
    };
    document.diagnostics().iter().enumerate().filter_map(of).collect()
}

fn fix(document: &Document, diagnostic: &Diagnostic, lines: &Range<usize>) -> Option<(String, Vec<Rewrite>)> {
    if let Some((wrong, right)) = suggestion(diagnostic) {
        let rewrite = Rewrite { bytes: document.word(wrong, lines)?, text: right.to_owned() };
        return Some((format!("Change to `{right}`"), vec![rewrite]));
    }
    let (rule, span) = (diagnostic.rule?, diagnostic.span?);
    match rule {
        "ConsistentInstructionCasing" => {
            let all = 0..document.text().len();
            return formatted(document.source(), &all)
                .map(|rewrites| ("Format the file".to_owned(), rewrites));
        }
        "FromAsCasing" | "NoEmptyContinuation" => {
            let piece = &document.file.piece_at(span.first)?.bytes;
            let rewrites = formatted(document.source(), piece);
            return rewrites.map(|rewrites| ("Format the instruction".to_owned(), rewrites));
        }
        _ => {}
    }
    let joined = document.joined_at_line(span)?;
    let (title, range, text) = of_rule(rule, &joined)?;
    let bytes = joined.in_file(range);
    // Of several lines the breaks and the comments between them would be lost.
    let is_one_line = !document.text()[bytes.clone()].contains('\n');
    is_one_line.then(|| (title.to_owned(), vec![Rewrite { bytes, text }]))
}

/// What formatting changes in these lines.
fn formatted(source: &SourceFile, lines: &Range<usize>) -> Option<Vec<Rewrite>> {
    let touches = |rewrite: &Rewrite| rewrite.bytes.start <= lines.end && lines.start <= rewrite.bytes.end;
    let found: Vec<Rewrite> = rewrites(source).ok()?.into_iter().filter(touches).collect();
    (!found.is_empty()).then_some(found)
}

/// What takes a rule's complaint away: a title, and what stands in place of a range of the joined text.
fn of_rule(rule: &str, joined: &Joined) -> Option<(&'static str, Range<usize>, String)> {
    let cut = joined.cut();
    let rest = &joined.text[cut.rest.clone()];
    let words = || stages::words(&joined.text, cut.rest.clone());
    match rule {
        "StageNameCasing" => {
            let name = words().pop()?;
            Some(("Write the stage's name in lower case", name.clone(), joined.text[name].to_lowercase()))
        }
        "ExposeProtoCasing" => {
            Some(("Write the protocol in lower case", cut.rest.clone(), lower_protocols(rest)))
        }
        "MaintainerDeprecated" => {
            let label = format!("LABEL org.opencontainers.image.authors={}", quoted(rest, joined.escape));
            Some(("Use a label", cut.keyword.start..cut.rest.end, label))
        }
        "LegacyKeyValueFormat" => {
            let value = key_value(rest, joined.escape)?;
            Some(("Use `name=value`", cut.rest.clone(), value))
        }
        "JSONArgsRecommended" => Some(("Use the JSON form", cut.rest.clone(), json(rest)?)),
        "RedundantTargetPlatform" => {
            let flag = cut.flags.first()?.clone();
            Some(("Remove `--platform`", flag.start..cut.rest.start, String::new()))
        }
        _ => None,
    }
}

/// Ports with what is behind each `/` in lower case, unless it is a variable.
fn lower_protocols(ports: &str) -> String {
    let lower = |port: &str| match port.rsplit_once('/') {
        Some((number, protocol)) if !protocol.contains('$') => {
            format!("{number}/{}", protocol.to_lowercase())
        }
        _ => port.to_owned(),
    };
    ports.split_inclusive(char::is_whitespace).map(lower).collect()
}

/// A text as one word.
fn quoted(text: &str, escape: char) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '$') || c == escape {
            out.push(escape);
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// `name value` as `name=value`, where it is clear how to quote the value.
fn key_value(rest: &str, escape: char) -> Option<String> {
    let name = rest.split(char::is_whitespace).next()?;
    let value = rest[range_of(rest, name).end..].trim();
    if raw_words(value, escape).len() == 1 {
        return Some(format!("{name}={value}"));
    }
    let is_plain = !value.contains(['"', '\'', escape]);
    is_plain.then(|| format!("{name}=\"{value}\""))
}

/// A command without anything that a shell would look at, as a list.
fn json(command: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " _./:@%+,-".contains(c);
    if command.is_empty() || !command.chars().all(is_plain) {
        return None;
    }
    let words: Vec<String> = command.split_whitespace().map(|word| format!("\"{word}\"")).collect();
    Some(format!("[{}]", words.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text with the fix for a complaint of `rule`.
    fn fixed(text: &str, rule: &str) -> Option<String> {
        let document = Document::new(SourceFile::new("Dockerfile", text));
        let of_rule = |diagnostic: &Diagnostic| diagnostic.rule == Some(rule);
        let index =
            document.diagnostics().iter().position(of_rule).unwrap_or_else(|| panic!("{text}: no {rule}"));
        let found = fixes(&document, &(0..text.len())).into_iter().find(|fix| fix.diagnostic == index)?;
        Some(applied(&document, &found))
    }

    fn applied(document: &Document, fix: &Fix) -> String {
        crate::format::apply(document.source(), &fix.rewrites)
    }

    fn first(document: &Document) -> Option<String> {
        fixes(document, &(0..document.text().len())).first().map(|fix| applied(document, fix))
    }

    #[test]
    fn rules_that_have_a_fix() {
        for (rule, line, expected) in [
            ("StageNameCasing", "FROM x AS Aa", "FROM x AS aa"),
            ("ExposeProtoCasing", "EXPOSE 1/TCP  2/udp", "EXPOSE 1/tcp  2/udp"),
            ("ExposeProtoCasing", "EXPOSE ${A:-1}/UDP 2", "EXPOSE ${A:-1}/udp 2"),
            (
                "MaintainerDeprecated",
                "maintainer A \"B\"",
                "LABEL org.opencontainers.image.authors=\"A \\\"B\\\"\"",
            ),
            ("LegacyKeyValueFormat", "ENV A a b", "ENV A=\"a b\""),
            ("LegacyKeyValueFormat", "ENV A 'a b'", "ENV A='a b'"),
            ("LegacyKeyValueFormat", "LABEL A b", "LABEL A=b"),
            ("JSONArgsRecommended", "CMD npm  start", "CMD [\"npm\", \"start\"]"),
            ("RedundantTargetPlatform", "FROM --platform=$TARGETPLATFORM y", "FROM y"),
            ("FromAsCasing", "FROM x as y", "FROM x AS y"),
            ("ConsistentInstructionCasing", "user  x", "USER x"),
            ("NoEmptyContinuation", "RUN a \\\n\n b", "RUN a \\\n b"),
        ] {
            assert_eq!(
                fixed(&format!("FROM x\n{line}\n"), rule),
                Some(format!("FROM x\n{expected}\n")),
                "{line}"
            );
        }
    }

    #[test]
    fn where_it_is_not_clear_there_is_none() {
        for (rule, line) in [
            ("LegacyKeyValueFormat", "ENV A a \"b\""),
            ("LegacyKeyValueFormat", "LABEL A \\\n # why\n  b"),
            ("JSONArgsRecommended", "CMD echo $HOME"),
            ("WorkdirRelativePath", "WORKDIR x"),
        ] {
            assert_eq!(fixed(&format!("FROM x\n{line}\n"), rule), None, "{line}");
        }
    }

    #[test]
    fn a_word_that_was_probably_meant() {
        for (text, expected) in [
            ("FROM x\nRUNN a\n", "FROM x\nRUN a\n"),
            ("FROM x\nCOPY \\\n --frm=x a b\n", "FROM x\nCOPY \\\n --from=x a b\n"),
            ("FROM x\nRUN --mount=type=secrt,id=x a\n", "FROM x\nRUN --mount=type=secret,id=x a\n"),
        ] {
            let document = Document::new(SourceFile::new("Dockerfile", text));
            assert_eq!(first(&document).as_deref(), Some(expected));
        }
    }

    #[test]
    fn only_what_is_asked_about() {
        let document = Document::new(SourceFile::new("Dockerfile", "FROM x\nRUNN a\nUSER y\n"));
        assert_eq!(fixes(&document, &(0..3)).len(), 0);
        assert_eq!(fixes(&document, &(8..8)).len(), 1);
    }
}
