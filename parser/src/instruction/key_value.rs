//! `name=value` words and the older `name value`.

use super::{Line, Problem};
use crate::words::{is_separator, raw_words};

/// A name and its value, quotes and escapes still inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The name.
    pub key: String,
    /// The value.
    pub value: String,
    /// Whether there was no `=` between them.
    pub legacy: bool,
}

pub(super) fn key_values(line: &Line<'_>) -> Result<Vec<KeyValue>, Problem> {
    let rest = line.only_argument()?;
    let words = raw_words(rest, line.escape);
    if words.first().is_some_and(|word| !word.contains('=')) {
        return legacy(line.keyword, rest).map(|pair| vec![pair]);
    }
    words.into_iter().map(|word| pair(line.keyword, word)).collect()
}

fn pair(keyword: &str, word: &str) -> Result<KeyValue, Problem> {
    let (key, value) = word.split_once('=').ok_or_else(|| {
        Problem::new(format!(
            "syntax error - cannot find `=` in `{word}`; it must be of the form `name=value`"
        ))
    })?;
    if key.is_empty() {
        return Err(Problem::new(format!("{keyword} names can not be blank")));
    }
    Ok(KeyValue { key: key.to_owned(), value: value.to_owned(), legacy: false })
}

fn legacy(keyword: &str, rest: &str) -> Result<KeyValue, Problem> {
    let (key, value) = rest
        .split_once(is_separator)
        .ok_or_else(|| Problem::new(format!("{keyword} must have two arguments")))?;
    let value = value.trim_start_matches(is_separator);
    Ok(KeyValue { key: key.to_owned(), value: value.to_owned(), legacy: true })
}
