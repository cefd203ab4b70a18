//! One record of comma-separated fields.

/// The fields of a record. A field may be in quotes as a whole, and `""` in it is a quote; `None` where quotes stand
/// elsewhere or are not closed.
pub fn record(text: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let (field, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                (!field.contains('"')).then(|| (field.to_owned(), after))?
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return after.is_empty().then_some(fields),
        }
    }
}

/// A field behind its opening quote, and what follows the closing one.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"')?;
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_commas() {
        assert_eq!(record("a=1,\"b=2,3\",\"c=\"\"x\"").unwrap(), ["a=1", "b=2,3", "c=\"x"]);
        assert_eq!(record("").unwrap(), [""]);
        assert!(record("\"a").is_none() && record("a=\"b\"").is_none());
    }
}
