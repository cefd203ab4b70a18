//! `$name`, `${name:-word}` and the other forms, with quotes and escapes.

mod pattern;
mod watched;

use std::cell::Cell;
use std::iter::Peekable;
use std::str::Chars;

use pattern::Pattern;
pub(crate) use watched::Watched;

/// Largest value of one expansion in bytes.
pub(crate) const MAX_VALUE: usize = 1 << 20;
/// Largest sum of all expansions of one plan in bytes.
pub(crate) const MAX_TOTAL: usize = 64 << 20;
/// Deepest `${a:-${b:-…}}`.
const MAX_DEPTH: usize = 64;

/// Why a text cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExpandError {
    #[error("unexpected end of statement while looking for a matching {0}")]
    OpenQuote(&'static str),
    #[error("syntax error: missing `}}`")]
    OpenBrace,
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    #[error("unsupported modifier `{0}` in substitution")]
    Modifier(String),
    #[error("`{name}`: {message}")]
    Required { name: String, message: String },
    #[error("substitutions are nested deeper than {MAX_DEPTH}")]
    Depth,
    #[error("an expanded value is longer than {MAX_VALUE} bytes")]
    Value,
    #[error("expanded values are longer than {MAX_TOTAL} bytes together")]
    Total,
    #[error("a pattern or the value it is applied to is too long")]
    Pattern,
    #[error("invalid escape in the pattern `{0}`: a backslash stands before `*`, `?`, `\\`, `}}` or `/`")]
    PatternEscape(String),
    #[error("`{0}` is not set")]
    Unset(String),
}

/// What a variable is that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unset {
    /// The empty text.
    Empty,
    /// The text as written.
    Kept,
    /// An error, except where an operator says what it is.
    Refused,
}

/// Counts what all expansions of a plan made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Budget(Cell<usize>);

impl Budget {
    fn spend(&self, bytes: usize) -> Result<(), ExpandError> {
        self.0.set(self.0.get().saturating_add(bytes));
        if self.0.get() > MAX_TOTAL { Err(ExpandError::Total) } else { Ok(()) }
    }
}

/// How a text is read.
pub(crate) struct Expander<'a> {
    /// The escape character of the file.
    pub(crate) escape: char,
    /// Quotes stay in the result.
    pub(crate) raw_quotes: bool,
    /// Quotes are characters like any other.
    pub(crate) ignore_quotes: bool,
    /// What a variable is that is not set.
    pub(crate) unset: Unset,
    /// Values by name.
    pub(crate) lookup: &'a dyn Fn(&str) -> Option<String>,
    /// What was made so far.
    pub(crate) budget: &'a Budget,
}

impl<'a> Expander<'a> {
    /// Quotes and escapes are removed, variables that are not set are empty.
    pub(crate) fn new(escape: char, lookup: &'a dyn Fn(&str) -> Option<String>, budget: &'a Budget) -> Self {
        Expander { escape, raw_quotes: false, ignore_quotes: false, unset: Unset::Empty, lookup, budget }
    }

    /// One value.
    pub(crate) fn word(&self, text: &str) -> Result<String, ExpandError> {
        Ok(self.run(text)?.text)
    }

    /// The words of the expanded text; what was quoted holds together.
    pub(crate) fn words(&self, text: &str) -> Result<Vec<String>, ExpandError> {
        let out = self.run(text)?;
        let ends = out.breaks.iter().copied().chain([out.text.len()]);
        let mut start = 0;
        let mut words = Vec::new();
        for end in ends {
            if end > start {
                words.push(out.text[start..end].trim().to_owned());
            }
            start = end;
        }
        words.retain(|word| !word.is_empty());
        Ok(words)
    }

    fn run(&self, text: &str) -> Result<Output, ExpandError> {
        let mut reader = Reader { options: self, chars: text.chars().peekable(), depth: 0 };
        let out = reader.until(None, false)?;
        self.budget.spend(out.text.len())?;
        Ok(out)
    }
}

/// What was read so far, and where unquoted white space was.
#[derive(Default)]
struct Output {
    text: String,
    breaks: Vec<usize>,
}

impl Output {
    /// Adds text in which white space separates words.
    fn unquoted(&mut self, text: &str) -> Result<(), ExpandError> {
        for c in text.chars() {
            if c.is_whitespace() {
                self.breaks.push(self.text.len());
            }
            self.text.push(c);
        }
        self.check()
    }

    fn quoted(&mut self, text: &str) -> Result<(), ExpandError> {
        self.text.push_str(text);
        self.check()
    }

    fn check(&self) -> Result<(), ExpandError> {
        if self.text.len() > MAX_VALUE { Err(ExpandError::Value) } else { Ok(()) }
    }
}

struct Reader<'a, 't> {
    options: &'a Expander<'a>,
    chars: Peekable<Chars<'t>>,
    depth: usize,
}

impl Reader<'_, '_> {
    /// Reads up to `stop`, which is consumed, or to the end where there is none.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<Output, ExpandError> {
        let mut out = Output::default();
        while let Some(&c) = self.chars.peek() {
            match c {
                _ if Some(c) == stop => {
                    self.chars.next();
                    return Ok(out);
                }
                '\'' if !self.options.ignore_quotes => out.quoted(&self.single_quoted()?)?,
                '"' if !self.options.ignore_quotes => out.quoted(&self.double_quoted(raw_escapes)?)?,
                '$' => out.unquoted(&self.dollar()?)?,
                _ if c == self.options.escape => {
                    self.chars.next();
                    let Some(escaped) = self.chars.next() else {
                        // A final escape stands for nothing, except where escapes stay.
                        if raw_escapes {
                            out.text.push(c);
                        }
                        break;
                    };
                    if raw_escapes {
                        out.text.push(c);
                    }
                    out.text.push(escaped);
                }
                _ => {
                    self.chars.next();
                    if c.is_whitespace() {
                        out.breaks.push(out.text.len());
                    }
                    out.text.push(c);
                }
            }
        }
        out.check()?;
        if stop.is_some() { Err(ExpandError::OpenBrace) } else { Ok(out) }
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let mut out = String::new();
        self.quote(&mut out);
        loop {
            match self.chars.peek() {
                None => return Err(ExpandError::OpenQuote("single quote")),
                Some('\'') => {
                    self.quote(&mut out);
                    return Ok(out);
                }
                Some(_) => out.extend(self.chars.next()),
            }
        }
    }

    fn double_quoted(&mut self, raw_escapes: bool) -> Result<String, ExpandError> {
        let mut out = String::new();
        self.quote(&mut out);
        loop {
            match self.chars.peek().copied() {
                None => return Err(ExpandError::OpenQuote("double-quote")),
                Some('"') => {
                    self.quote(&mut out);
                    return Ok(out);
                }
                Some('$') => out.push_str(&self.dollar()?),
                Some(c) if c == self.options.escape => {
                    self.chars.next();
                    if raw_escapes {
                        out.push(c);
                    }
                    self.escape_in_quotes(&mut out);
                }
                Some(_) => out.extend(self.chars.next()),
            }
            if out.len() > MAX_VALUE {
                return Err(ExpandError::Value);
            }
        }
    }

    /// In double quotes an escape only matters before `"`, `$` and itself.
    fn escape_in_quotes(&mut self, out: &mut String) {
        let escape = self.options.escape;
        let special = |c: &char| matches!(c, '"' | '$') || *c == escape;
        match self.chars.peek().copied() {
            Some(c) if special(&c) => {
                out.extend(self.chars.next());
            }
            _ => out.push(escape),
        }
    }

    /// Consumes a quote.
    fn quote(&mut self, out: &mut String) {
        let quote = self.chars.next();
        if self.options.raw_quotes {
            out.extend(quote);
        }
    }

    fn dollar(&mut self) -> Result<String, ExpandError> {
        self.chars.next();
        if self.chars.peek() == Some(&'{') {
            self.chars.next();
            self.depth += 1;
            let value = if self.depth > MAX_DEPTH { Err(ExpandError::Depth) } else { self.braces() };
            self.depth -= 1;
            return value;
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        match self.get(&name) {
            Some(value) => Ok(value),
            None => self.unset(&name, || format!("${name}")),
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        (self.options.lookup)(name)
    }

    /// What stands between braces, the closing one included.
    fn braces(&mut self) -> Result<String, ExpandError> {
        let name = self.name();
        let operator = self.chars.next().ok_or(ExpandError::OpenBrace)?;
        if name.is_empty() {
            return Err(ExpandError::BadSubstitution);
        }
        let value = self.get(&name);
        match operator {
            '}' => value.map_or_else(|| self.unset(&name, || format!("${{{name}}}")), Ok),
            ':' => {
                let operator = self.chars.next().ok_or(ExpandError::OpenBrace)?;
                if !matches!(operator, '-' | '+' | '?') {
                    return Err(ExpandError::Modifier(format!(":{operator}")));
                }
                self.default_form(operator, true, &name, value)
            }
            '-' | '+' | '?' => self.default_form(operator, false, &name, value),
            '#' | '%' => self.trim_form(operator, &name, value),
            '/' => self.replace_form(&name, value),
            other => Err(ExpandError::Modifier(other.to_string())),
        }
    }

    /// `-`, `+` and `?`; with a colon in front, what is empty counts as missing too.
    fn default_form(
        &mut self,
        operator: char,
        colon: bool,
        name: &str,
        value: Option<String>,
    ) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), false)?.text;
        if value.is_none() && self.options.unset == Unset::Kept {
            let colon = if colon { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let missing = value.as_deref().is_none_or(|value| colon && value.is_empty());
        match operator {
            '-' if missing => Ok(word),
            '+' if missing => Ok(String::new()),
            '+' => Ok(word),
            '?' if missing => {
                let default =
                    if value.is_some() { "not allowed to be empty" } else { "not allowed to be unset" };
                let message = if word.is_empty() { default.to_owned() } else { word };
                Err(ExpandError::Required { name: name.to_owned(), message })
            }
            _ => Ok(value.unwrap_or_default()),
        }
    }

    /// `#`, `##`, `%` and `%%`. Which of them shows when the word is expanded, as BuildKit has it.
    fn trim_form(
        &mut self,
        operator: char,
        name: &str,
        value: Option<String>,
    ) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), true)?.text;
        let Some(value) = value else { return self.unset(name, || format!("${{{name}{operator}{word}}}")) };
        let (longest, text) = word.strip_prefix(operator).map_or((false, &*word), |text| (true, text));
        let pattern = Pattern::new(text)?;
        let trimmed = if operator == '#' {
            pattern.trim_prefix(&value, longest)
        } else {
            pattern.trim_suffix(&value, longest)
        };
        trimmed.ok_or(ExpandError::Pattern)
    }

    /// `/pattern/replacement` and `//pattern/replacement`. The replacement is literal, its escapes included.
    fn replace_form(&mut self, name: &str, value: Option<String>) -> Result<String, ExpandError> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let word = self.until(Some('/'), true)?.text;
        let with = self.until(Some('}'), true)?.text;
        let Some(value) = value else {
            let slashes = if all { "//" } else { "/" };
            return self.unset(name, || format!("${{{name}{slashes}{word}/{with}}}"));
        };
        Pattern::new(&word)?.replace(&value, &with, all, MAX_VALUE).ok_or(ExpandError::Pattern)
    }

    fn unset(&self, name: &str, written: impl FnOnce() -> String) -> Result<String, ExpandError> {
        match self.options.unset {
            Unset::Empty => Ok(String::new()),
            Unset::Kept => Ok(written()),
            Unset::Refused => Err(ExpandError::Unset(name.to_owned())),
        }
    }

    /// A variable's name: a word, a number, or one special character.
    fn name(&mut self) -> String {
        match self.chars.peek() {
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => self.chars.next().into_iter().collect(),
            Some(c) if c.is_ascii_digit() => self.take_while(|c| c.is_ascii_digit()),
            _ => self.take_while(|c| c == '_' || c.is_alphanumeric()),
        }
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> String {
        std::iter::from_fn(|| self.chars.next_if(|c| keep(*c))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "a" => "x",
            "empty" => "",
            "path" => "/usr/local/lib/libfoo.so.1",
            "two" => "p q",
            "hash" => "#a",
            "lines" => "a\nb",
            "ü" => "umlaut",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn word(text: &str) -> Result<String, ExpandError> {
        Expander::new('\\', &lookup, &Budget::default()).word(text)
    }

    #[test]
    fn items_28_30_every_operator() {
        for (text, expected) in [
            ("$a-${a}", "x-x"),
            ("$nope.${nope}", "."),
            ("${empty:-w}${empty-w}", "w"),
            ("${nope:-w}${nope-v}", "wv"),
            ("${a:+y}${a+z}${empty:+n}${empty+m}${nope+n}", "yzm"),
            ("${a:?no}${a?no}${empty?no}", "xx"),
            ("${nope:-${a:-n}$a}", "xx"),
            ("${path##*/}", "libfoo.so.1"),
            ("${path#*/}", "usr/local/lib/libfoo.so.1"),
            ("${path%.*}", "/usr/local/lib/libfoo.so"),
            ("${path%%.*}", "/usr/local/lib/libfoo"),
            ("${path/l*l/L}", "/usr/Libfoo.so.1"),
            ("${path//lib/L}", "/usr/local/L/Lfoo.so.1"),
            ("${path//\\//_}", "_usr_local_lib_libfoo.so.1"),
            ("${path//\\//\\/}", "\\/usr\\/local\\/lib\\/libfoo.so.1"),
            ("${path/$nope/ww}", "ww/usr/local/lib/libfoo.so.1"),
            ("${a///-}${empty/*/-}", "-x--"),
            ("${path#\"/u\"}", "sr/local/lib/libfoo.so.1"),
            ("${hash#\"#\"*}${hash#$hash}", "#a"),
            ("$$ $@ $1x $", "  x $"),
            ("$ü", "umlaut"),
        ] {
            assert_eq!(word(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn item_31_quotes_and_escapes() {
        for (text, expected) in [
            (r#"'$a' "$a" \$a"#, "$a x $a"),
            (r#""\"\$\\\n""#, r#""$\\n"#),
            (r"a\ b\n", "a bn"),
            (r"'a\b'", r"a\b"),
            ("a\\", "a"),
        ] {
            assert_eq!(word(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn complaints() {
        for (text, expected) in [
            ("'a", "unexpected end of statement while looking for a matching single quote"),
            ("\"a", "unexpected end of statement while looking for a matching double-quote"),
            ("${a", "syntax error: missing `}`"),
            ("${}", "syntax error: bad substitution"),
            ("${a:#x}", "unsupported modifier `:#` in substitution"),
            ("${a!x}", "unsupported modifier `!` in substitution"),
            ("${nope:?say so}", "`nope`: say so"),
            ("${empty:?}", "`empty`: not allowed to be empty"),
            ("${nope?}", "`nope`: not allowed to be unset"),
            ("${a//x}", "syntax error: missing `}`"),
        ] {
            assert_eq!(word(text).unwrap_err().to_string(), expected, "{text}");
        }
        assert_eq!(word(&"${x:-".repeat(10_000)).unwrap_err(), ExpandError::Depth);
    }

    #[test]
    fn words_break_outside_quotes() {
        let budget = Budget::default();
        let words = |text| Expander::new('\\', &lookup, &budget).words(text).unwrap();
        assert_eq!(words("$two \"$two\" a\\ b"), ["p", "q", "p q", "a b"]);
        assert_eq!(words("  "), Vec::<String>::new());
    }

    #[test]
    fn raw_form_keeps_what_is_unset_and_quoted() {
        let budget = Budget::default();
        let mut expander = Expander::new('\\', &lookup, &budget);
        (expander.raw_quotes, expander.unset) = (true, Unset::Kept);
        let expected = r#"RUN "x" '$a' $nope ${nope:-d}"#;
        assert_eq!(expander.word(r#"RUN "$a" '$a' $nope ${nope:-d}"#).unwrap(), expected);
    }

    #[test]
    fn what_is_unset_can_be_refused() {
        let budget = Budget::default();
        let expander = Expander { unset: Unset::Refused, ..Expander::new('\\', &lookup, &budget) };
        assert_eq!(expander.word("$a${nope:-d}").unwrap(), "xd");
        for text in ["$nope", "${nope}", "${nope#x}", "${nope/x/y}"] {
            assert_eq!(expander.word(text), Err(ExpandError::Unset("nope".to_owned())), "{text}");
        }
    }

    #[test]
    fn item_29_a_replacement_is_literal() {
        for (text, expected) in [
            ("${path//l(?)/b}", "/usr/local/lib/libfoo.so.1"),
            ("${path/lib/'$1'}", "/usr/local/$1/libfoo.so.1"),
            ("${path//lib/'${x}$0'}", "/usr/local/${x}$0/${x}$0foo.so.1"),
            ("${lines/?b/}", "a\nb"),
            ("${lines//*/-}", "-\n-"),
        ] {
            assert_eq!(word(text).unwrap(), expected, "{text}");
        }
        for bad in ["${a#\\x}", "${a/\\x/}", "${a%\\#}"] {
            assert!(matches!(word(bad), Err(ExpandError::PatternEscape(_))), "{bad}");
        }
    }
}
