//! `--annotation [LEVEL[,LEVEL…]:]KEY=VALUE`, a level with `[PLATFORM]` where it is an image's.

use kiln_engine::Result;
use kiln_engine::build::{Annotation, AnnotationLevel};

use super::wrong;

/// Reads one `--annotation`, as buildx does.
pub(crate) fn parse(text: &str) -> Result<Vec<Annotation>> {
    let Some((place, value)) = text.split_once('=') else {
        return wrong("--annotation", text, "it is not `KEY=VALUE`");
    };
    let (levels, key) = place.split_once(':').unwrap_or(("manifest", place));
    if key.is_empty() {
        return wrong("--annotation", text, "it has no key");
    }
    let annotation = |level: &str| match AnnotationLevel::parse(level) {
        Ok((level, platform)) => {
            Ok(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() })
        }
        Err(error) => wrong("--annotation", text, error),
    };
    levels.split(',').map(annotation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_platforms() {
        let read = |text: &str| {
            let found = parse(text).unwrap().into_iter();
            found
                .map(|one| (one.level, one.platform.map(|p| p.to_string()), one.key, one.value))
                .collect::<Vec<_>>()
        };
        let of = |level, platform: Option<&str>, key: &str, value: &str| {
            (level, platform.map(str::to_owned), key.to_owned(), value.to_owned())
        };
        assert_eq!(read("a.b=c=d:e"), [of(AnnotationLevel::Manifest, None, "a.b", "c=d:e")]);
        assert_eq!(
            read("index,manifest[linux/arm64]:a="),
            [
                of(AnnotationLevel::Index, None, "a", ""),
                of(AnnotationLevel::Manifest, Some("linux/arm64"), "a", "")
            ]
        );
        for bad in ["a", "=b", "index:=b", "layer:a=b", "index[linux/amd64]:a=b", ":a=b"] {
            assert!(parse(bad).is_err(), "`{bad}` was accepted");
        }
    }
}
