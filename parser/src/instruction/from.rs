//! `FROM [--platform=p] image [AS name]`.

use super::{Line, Problem};
use crate::flags::Flags;
use crate::words::plain_words;

/// What a stage begins with; nothing is expanded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// An image, an earlier stage, or `scratch`.
    pub image: String,
    /// `--platform`.
    pub platform: Option<String>,
    /// The stage's name in lower case.
    pub name: Option<String>,
}

pub(super) fn parse(line: &Line<'_>) -> Result<From, Problem> {
    let mut flags = Flags::new(line.flags);
    let platform = flags.one("platform")?;
    flags.finish()?;
    let words = plain_words(line.rest);
    let (image, name) = match &words[..] {
        [image] => (image, None),
        [image, r#as, name] if r#as.eq_ignore_ascii_case("as") => (image, Some(stage_name(name)?)),
        _ => {
            return Err(Problem {
                message: "FROM requires either one or three arguments".to_owned(),
                help: Some("it is `FROM image` or `FROM image AS name`, without a comment behind".to_owned()),
            });
        }
    };
    Ok(From { image: image.clone(), platform, name })
}

fn stage_name(text: &str) -> Result<String, Problem> {
    let name = text.to_lowercase();
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(word) {
        return Ok(name);
    }
    Err(Problem {
        message: format!("invalid name for build stage: `{text}`"),
        help: Some(
            "a stage's name begins with a letter and has only letters, digits, `-`, `_` and `.`".to_owned(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instruction::Parsed;

    fn read(text: &str) -> Result<From, String> {
        match crate::instruction::parse(&crate::flags::split(text, '\\'), Vec::new(), '\\') {
            Ok(Parsed::From(from)) => Ok(from),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn items_19_20_one_or_three_words() {
        let from = read("FROM --platform=$BUILDPLATFORM debian:12 as Build").unwrap();
        assert_eq!((from.image.as_str(), from.name.as_deref()), ("debian:12", Some("build")));
        assert_eq!(from.platform.as_deref(), Some("$BUILDPLATFORM"));
        for bad in ["FROM", "FROM a b", "FROM a # b", "FROM a AS 1x", "FROM a AS b/c", "FROM a of b"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
