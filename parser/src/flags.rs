//! `--name[=value]` words in front of an instruction's arguments.

use crate::instruction::{Problem, nearest};

/// An instruction's text cut in three.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Split<'a> {
    /// The keyword as written.
    pub(crate) keyword: &'a str,
    /// `--…` words, quotes and escapes removed.
    pub(crate) flags: Vec<String>,
    /// What follows.
    pub(crate) rest: &'a str,
    /// All behind the keyword.
    pub(crate) all: &'a str,
}

/// Cuts a logical line. A bare `--` ends the flags.
pub(crate) fn split(line: &str, escape: char) -> Split<'_> {
    let all = line.trim_start().split_once(crate::words::is_separator).map_or("", |(_, all)| all);
    let line = line.trim();
    let (keyword, rest) = line.split_once(crate::words::is_separator).unwrap_or((line, ""));
    let mut rest = rest.trim();
    let mut flags = Vec::new();
    while rest.starts_with("--") {
        let (word, after) = flag_word(rest, escape);
        rest = after.trim_start();
        if word == "--" {
            break;
        }
        flags.push(word);
    }
    Split { keyword, flags, rest, all }
}

/// The first word without quotes and escapes, and what follows it.
pub(crate) fn flag_word(text: &str, escape: char) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (None, _) if c.is_whitespace() => return (word, &text[at..]),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ if c == escape => word.extend(chars.next().map(|(_, c)| c)),
            _ => word.push(c),
        }
    }
    (word, "")
}

/// The flags of one instruction, handed out by name; [`Flags::finish`] complains about the rest.
#[derive(Debug)]
pub(crate) struct Flags<'a> {
    left: Vec<(&'a str, Option<&'a str>)>,
    known: Vec<&'static str>,
}

impl<'a> Flags<'a> {
    pub(crate) fn new(flags: &'a [String]) -> Self {
        let pair = |flag: &'a String| {
            let flag = flag.strip_prefix("--").unwrap_or(flag);
            flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)))
        };
        Flags { left: flags.iter().map(pair).collect(), known: Vec::new() }
    }

    /// Every value of a flag that may be repeated.
    pub(crate) fn all(&mut self, name: &'static str) -> Result<Vec<String>, Problem> {
        self.known.push(name);
        let (mine, left) = std::mem::take(&mut self.left).into_iter().partition(|(n, _)| *n == name);
        self.left = left;
        let mine: Vec<(&str, Option<&str>)> = mine;
        let missing = || Problem::new(format!("missing a value on flag `--{name}`"));
        mine.into_iter().map(|(_, value)| value.map(str::to_owned).ok_or_else(missing)).collect()
    }

    /// The value of a flag that may be given once.
    pub(crate) fn one(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        let mut values = self.all(name)?;
        if values.len() > 1 {
            return Err(Problem::new(format!("duplicate flag `--{name}`")));
        }
        Ok(values.pop())
    }

    /// The value of a flag that is on or off.
    pub(crate) fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, Problem> {
        for flag in self.left.iter_mut().filter(|(n, value)| *n == name && value.is_none()) {
            flag.1 = Some("true");
        }
        let value = self.one(name)?;
        let parse = |value: String| match value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Problem::new(format!("expected `true` or `false` on flag `--{name}`, got `{value}`"))),
        };
        value.map(parse).transpose()
    }

    /// An error if a flag was not asked for.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        let Some((name, _)) = self.left.first() else { return Ok(()) };
        let help = nearest(name, &self.known).map(|known| format!("did you mean `--{known}`?"));
        Err(Problem { message: format!("unknown flag `--{name}`"), help })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_10_flags_stand_before_the_first_word() {
        let split = split(r#"COPY --from=a --chown="b c" x --link"#, '\\');
        assert_eq!(split.keyword, "COPY");
        assert_eq!(split.flags, ["--from=a", "--chown=b c"]);
        assert_eq!(split.rest, "x --link");
    }

    #[test]
    fn item_12_two_dashes_end_them() {
        assert_eq!(split("RUN -- --odd", '\\').rest, "--odd");
        assert_eq!(split("RUN --", '\\').flags, Vec::<String>::new());
    }

    #[test]
    fn item_11_values_are_characters_and_not_bytes() {
        assert_eq!(split("RUN --größe=\\\"ä x", '\\').flags, ["--größe=\"ä"]);
        assert_eq!(split("RUN --a=`\"\\b x", '`').flags, ["--a=\"\\b"]);
    }

    #[test]
    fn values_are_checked() {
        let words: Vec<String> = ["--a", "--b=false", "--c=1", "--c=2"].map(str::to_owned).into();
        let mut flags = Flags::new(&words);
        assert_eq!(flags.boolean("a").unwrap(), Some(true));
        assert_eq!(flags.boolean("b").unwrap(), Some(false));
        assert_eq!(flags.one("c").unwrap_err().message, "duplicate flag `--c`");
        let words = vec!["--frm=x".to_owned()];
        let mut flags = Flags::new(&words);
        assert_eq!(flags.one("from").unwrap(), None);
        let problem = flags.finish().unwrap_err();
        assert_eq!(problem.message, "unknown flag `--frm`");
        assert_eq!(problem.help.as_deref(), Some("did you mean `--from`?"));
    }
}
