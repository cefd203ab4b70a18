//! Splitting the rest of a line into words.

use crate::instruction::Problem;

/// What separates words: Go's `[\t\v\f\r ]+`, to which a line feed never belongs.
pub(crate) fn is_separator(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// Words between separators, quotes meaning nothing.
pub(crate) fn plain_words(text: &str) -> Vec<String> {
    text.split(is_separator).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Words between white space outside quotes; quotes and escapes stay.
pub(crate) fn raw_words(text: &str, escape: char) -> Vec<&str> {
    split_words(text, escape, false).0
}

/// The same with white space after `<<` belonging to the word, and whether a quote stayed open.
pub(crate) fn heredoc_words(text: &str) -> (Vec<&str>, bool) {
    split_words(text, '\\', true)
}

fn split_words(text: &str, escape: char, heredocs: bool) -> (Vec<&str>, bool) {
    let mut words = Vec::new();
    let (mut start, mut quote) = (None, None);
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(start.take().map(|start| &text[start..at]));
            continue;
        }
        start.get_or_insert(at);
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None | Some('"'), _) if c == escape => drop(chars.next()),
            (None, '<') if heredocs && chars.next_if(|(_, c)| *c == '<').is_some() => {
                while chars.next_if(|(_, c)| matches!(c, '\t' | '\r' | ' ')).is_some() {}
            }
            _ => {}
        }
    }
    words.extend(start.map(|start| &text[start..]));
    (words, quote.is_some())
}

/// The JSON form: `None` where the text is no JSON array, an error where it is one of other things than strings.
pub(crate) fn json_list(text: &str) -> Result<Option<Vec<String>>, Problem> {
    let text = text.trim();
    if !text.starts_with('[') {
        return Ok(None);
    }
    if let Ok(list) = serde_json::from_str::<Vec<String>>(text) {
        return Ok(Some(list));
    }
    match serde_json::from_str::<Vec<serde::de::IgnoredAny>>(text) {
        Ok(_) => Err(Problem {
            message: "only strings are allowed in the JSON form".to_owned(),
            help: Some("a number is written in quotes too: `[\"sleep\", \"5\"]`".to_owned()),
        }),
        Err(_) => Ok(None),
    }
}

/// A JSON list, or else plain words.
pub(crate) fn list(text: &str) -> Result<Vec<String>, Problem> {
    Ok(json_list(text)?.unwrap_or_else(|| plain_words(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(raw_words(r#"a="b c" d\ e  'f g'"#, '\\'), [r#"a="b c""#, r"d\ e", "'f g'"]);
        assert_eq!(raw_words("\"open end", '\\'), ["\"open end"]);
        assert_eq!(raw_words("a\\", '\\'), ["a\\"]);
    }

    #[test]
    fn item_14_json_is_all_or_nothing() {
        assert_eq!(json_list(r#" ["a", "b c"] "#).unwrap(), Some(vec!["a".to_owned(), "b c".to_owned()]));
        assert_eq!(json_list("[").unwrap(), None);
        assert_eq!(json_list(r#"["a"] b"#).unwrap(), None);
        assert_eq!(json_list("['a']").unwrap(), None);
        assert!(json_list("[1]").is_err());
        assert_eq!(list("[ a").unwrap(), ["[", "a"]);
    }
}
