//! What may be written at the cursor.

mod mount;

use std::ops::Range;

use super::Document;
use super::joined::Joined;
use super::reference::{self, FlagEntry, FlagValue, INSTRUCTIONS, InstructionEntry};
use super::variables::Variable;
use crate::Stage;
use crate::pieces::PartKind;

/// Something that may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// What it is called in the list.
    pub label: String,
    /// What it is.
    pub kind: CompletionKind,
    /// A sentence on it.
    pub about: String,
    /// What it replaces: the word as far as it is written.
    pub bytes: Range<usize>,
    /// What stands there then.
    pub text: String,
}

/// What a completion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionKind {
    /// An instruction, or another word of the language.
    Keyword,
    /// A flag or an option of a mount.
    Option,
    /// One of the values that there are.
    Value,
    /// A stage.
    Stage,
    /// A variable.
    Variable,
}

/// What may be written at an offset, given what is before it.
pub fn complete(document: &Document, at: usize) -> Vec<Completion> {
    let at = document.text().floor_char_boundary(at);
    let Some((piece, parts)) = document.instruction_at(at) else {
        let is_blank = is_blank_line(&document.text()[..at]);
        return if is_blank { instructions(at..at, false) } else { Vec::new() };
    };
    let Some(part) = parts.iter().rev().find(|part| part.bytes.start <= at) else { return Vec::new() };
    if !matches!(part.kind, PartKind::Text | PartKind::Blank) {
        return Vec::new();
    }
    let joined = Joined::new(parts, document.source(), document.escape());
    let joined_at = joined.at(at);
    let mut prefix = joined.text[..joined_at].to_owned();
    match part.kind {
        // Nobody begins an empty line to go on with a word.
        PartKind::Blank => prefix.push(' '),
        _ if joined.in_file(joined_at..joined_at).start != at => return Vec::new(),
        _ => {}
    }
    Cursor { document, line: piece.span.first, bytes: part.bytes.start..at, prefix: &prefix }.complete()
}

fn is_blank_line(before: &str) -> bool {
    before.rsplit('\n').next().is_some_and(|line| line.trim().is_empty())
}

fn instructions(bytes: Range<usize>, is_trigger: bool) -> Vec<Completion> {
    let may_be = |entry: &&InstructionEntry| {
        !is_trigger || !matches!(entry.keyword, "FROM" | "MAINTAINER" | "ONBUILD")
    };
    let completion = |entry: &InstructionEntry| Completion {
        label: entry.keyword.to_owned(),
        kind: CompletionKind::Keyword,
        about: entry.about.to_owned(),
        bytes: bytes.clone(),
        text: format!("{} ", entry.keyword),
    };
    INSTRUCTIONS.iter().filter(may_be).map(completion).collect()
}

/// A cursor in an instruction.
struct Cursor<'a> {
    document: &'a Document,
    line: u32,
    /// The cursor's line up to the cursor.
    bytes: Range<usize>,
    /// The instruction's text up to the cursor.
    prefix: &'a str,
}

impl Cursor<'_> {
    fn complete(&self) -> Vec<Completion> {
        let word = self.prefix.rsplit(char::is_whitespace).next().unwrap_or_default();
        let before = &self.prefix[..self.prefix.len() - word.len()];
        if let Some(name) = open_variable(word) {
            return self.variables(name);
        }
        let mut words: Vec<&str> = before.split_whitespace().collect();
        let is_trigger = words.first().is_some_and(|word| word.eq_ignore_ascii_case("ONBUILD"));
        if is_trigger {
            words.remove(0);
        }
        let Some((keyword, words)) = words.split_first() else {
            return instructions(self.bytes(word), is_trigger);
        };
        let Some(entry) = reference::instruction(keyword) else { return Vec::new() };
        let flags = words.iter().take_while(|word| word.starts_with("--") && **word != "--").count();
        let arguments = &words[flags..];
        match arguments.is_empty() && (word.starts_with('-') || word.is_empty()) {
            true if word.contains('=') => self.flag_value(entry, word),
            true => [self.flags(entry, word), self.argument(entry, arguments, word)].concat(),
            false => self.argument(entry, arguments, word),
        }
    }

    /// The bytes of what is written of `word`, which ends at the cursor.
    fn bytes(&self, word: &str) -> Range<usize> {
        self.bytes.end.saturating_sub(word.len()).max(self.bytes.start)..self.bytes.end
    }

    /// A completion that is written as it is called.
    fn word(&self, written: &str, label: &str, kind: CompletionKind) -> Completion {
        let (label, about, bytes) = (label.to_owned(), String::new(), self.bytes(written));
        Completion { text: label.clone(), label, kind, about, bytes }
    }

    fn values(&self, written: &str, values: &[&str]) -> Vec<Completion> {
        let completion = |value: &&str| self.word(written, value, CompletionKind::Value);
        values.iter().map(completion).collect()
    }

    fn flags(&self, entry: &InstructionEntry, word: &str) -> Vec<Completion> {
        let completion = |flag: &FlagEntry| {
            let end = if flag.value == FlagValue::Switch { "" } else { "=" };
            let completion = self.word(word, &format!("--{}", flag.name), CompletionKind::Option);
            let text = format!("{}{end}", completion.label);
            Completion { about: flag.about.to_owned(), text, ..completion }
        };
        entry.flags.iter().map(completion).collect()
    }

    fn flag_value(&self, entry: &InstructionEntry, word: &str) -> Vec<Completion> {
        let Some((name, value)) = word.split_once('=') else { return Vec::new() };
        let Some(flag) = entry.flags.iter().find(|flag| name.strip_prefix("--") == Some(flag.name)) else {
            return Vec::new();
        };
        match flag.value {
            FlagValue::Switch => self.values(value, &["true", "false"]),
            FlagValue::OneOf(values) => self.values(value, values),
            FlagValue::Stage => self.stages(self.document.sources(self.line), value),
            FlagValue::Mount => self.mount(value),
            FlagValue::Text(_) if flag.name == "platform" => {
                self.values(value, &["$BUILDPLATFORM", "$TARGETPLATFORM", "linux/amd64", "linux/arm64"])
            }
            FlagValue::Text(_) => Vec::new(),
        }
    }

    fn stages(&self, among: &[Stage], written: &str) -> Vec<Completion> {
        let completion = |stage: &Stage| {
            let name = stage.from.name.as_ref()?;
            let about = format!("Stage on `{}`, line {}", stage.from.image, stage.span.first);
            Some(Completion { about, ..self.word(written, name, CompletionKind::Stage) })
        };
        among.iter().filter_map(completion).collect()
    }

    fn variables(&self, written: &str) -> Vec<Completion> {
        let variables = self.document.variables(self.line);
        let completion = |(name, variable): (&String, &Variable)| {
            let about = variable.value.clone().unwrap_or_default();
            Completion { about, ..self.word(written, name, CompletionKind::Variable) }
        };
        variables.iter().map(completion).collect()
    }

    /// Words that an instruction takes behind its flags.
    fn argument(&self, entry: &InstructionEntry, before: &[&str], word: &str) -> Vec<Completion> {
        let keyword = |keyword: &str| {
            let text = format!("{keyword} ");
            Completion { text, ..self.word(word, keyword, CompletionKind::Keyword) }
        };
        match (entry.keyword, before.len()) {
            ("FROM", 0) => {
                let mut found = self.stages(self.document.bases(self.line), word);
                found.extend(self.values(word, &["scratch"]));
                found
            }
            ("FROM", 1) => vec![keyword("AS")],
            ("HEALTHCHECK", 0) => vec![keyword("CMD"), keyword("NONE")],
            _ => Vec::new(),
        }
    }
}

/// What is written of the name of a variable, where a word ends in `$name` or `${name`.
fn open_variable(word: &str) -> Option<&str> {
    let head = word.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
    (head.ends_with('$') || head.ends_with("${")).then(|| &word[head.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::at_cursor;

    pub(super) fn labels(text: &str) -> Vec<String> {
        let (document, at) = at_cursor(text);
        complete(&document, at).into_iter().map(|completion| completion.label).collect()
    }

    /// What the text becomes with a completion.
    #[track_caller]
    pub(super) fn check(text: &str, label: &str, expected: &str) {
        let (document, at) = at_cursor(text);
        let found = complete(&document, at);
        let Some(completion) = found.iter().find(|completion| completion.label == label) else {
            panic!("{text} has no `{label}`, only {:?}", labels(text));
        };
        let mut text = document.text().to_owned();
        text.replace_range(completion.bytes.clone(), &completion.text);
        assert_eq!(text, expected);
    }

    #[test]
    fn instructions() {
        check("FROM x\n‸", "COPY", "FROM x\nCOPY ");
        check("FROM x\nwo‸\nRUN a", "WORKDIR", "FROM x\nWORKDIR \nRUN a");
        check("‸", "FROM", "FROM ");
        check("FROM x\nONBUILD R‸", "RUN", "FROM x\nONBUILD RUN ");
        assert!(!labels("FROM x\nONBUILD ‸").contains(&"FROM".to_owned()));
    }

    #[test]
    fn flags_and_their_values() {
        check("FROM x\nCOPY --ch‸", "--chown", "FROM x\nCOPY --chown=");
        check("FROM x\nCOPY ‸ a b", "--link", "FROM x\nCOPY --link a b");
        check("FROM x\nRUN --network=h‸", "host", "FROM x\nRUN --network=host");
        check("FROM x\nADD --unpack=‸", "true", "FROM x\nADD --unpack=true");
        check(
            "FROM x\nRUN --network=none \\\n  --mo‸",
            "--mount",
            "FROM x\nRUN --network=none \\\n  --mount=",
        );
        check("FROM x\nCOPY --link\\\n  ‸\n a b", "--from", "FROM x\nCOPY --link\\\n  --from=\n a b");
        check("FROM x\nONBUILD COPY --f‸", "--from", "FROM x\nONBUILD COPY --from=");
        check("FROM --platform=‸", "$BUILDPLATFORM", "FROM --platform=$BUILDPLATFORM");
        assert_eq!(labels("FROM x\nCOPY a --‸"), Vec::<String>::new());
    }

    #[test]
    fn stages() {
        let stages = "FROM x AS one\nFROM y AS two\n";
        assert_eq!(labels(&format!("{stages}COPY --from=‸")), ["one"]);
        assert_eq!(labels(&format!("{stages}RUN --mount=target=/x,from=o‸")), ["one"]);
        assert_eq!(labels(&format!("{stages}FROM ‸")), ["--platform", "one", "two", "scratch"]);
        check(&format!("{stages}FROM tw‸"), "two", &format!("{stages}FROM two"));
        check("FROM x a‸", "AS", "FROM x AS ");
        check("FROM x\nHEALTHCHECK --retries=1 ‸", "CMD", "FROM x\nHEALTHCHECK --retries=1 CMD ");
    }

    #[test]
    fn variables() {
        let text = "ARG G=1\nFROM x\nARG A=2\nENV B=3\n";
        assert_eq!(labels(&format!("{text}USER $‸")), ["A", "B"]);
        check(&format!("{text}RUN echo \"${{‸}}\""), "B", &format!("{text}RUN echo \"${{B}}\""));
        assert!(labels("ARG G=1\nFROM x:$‸").contains(&"G".to_owned()));
        assert!(labels("FROM --platform=$B‸").contains(&"BUILDPLATFORM".to_owned()));
    }

    #[test]
    fn nothing_where_nothing_is_known() {
        for text in [
            "# FR‸",
            "FROM x\nCOPY <<E /\n‸\nE",
            "FROM x\nRUN a‸",
            "NOPE --‸",
            "FROM x\nCOPY --none=‸",
            "FROM x\nCOPY \\‸\n a",
        ] {
            assert_eq!(labels(text), Vec::<String>::new(), "{text}");
        }
    }
}
