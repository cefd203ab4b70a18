//! Booleans as BuildKit reads them in flags, attributes and queries.

/// What Go's `strconv.ParseBool` makes of `text`; `None` where it is neither true nor false.
pub fn parse(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
