//! The context of a build and its Dockerfile, as they are typed: a folder, a URL, or `-` for standard input.

use std::io::stdin;
use std::path::{Path, PathBuf};

use kiln_engine::build::{Context, Input};
use kiln_engine::{Error, Result};

use super::wrong;

/// What is given as the context. A folder that is there is one, whatever its name looks like.
pub(crate) fn context(text: &str) -> Context {
    match text {
        "-" => Context::Stream(Input::new(stdin())),
        _ if is_remote(text) && !Path::new(text).is_dir() => Context::Remote(text.to_owned()),
        _ => Context::Folder(PathBuf::from(text)),
    }
}

/// `-f`: a path, or the text on standard input.
pub(crate) fn dockerfile(file: Option<&Path>, context: &str) -> Result<(Option<PathBuf>, Option<Input>)> {
    match file {
        Some(file) if file.as_os_str() == "-" && context == "-" => {
            Err(Error::invalid("standard input cannot be both the context and the Dockerfile")
                .with_hint("a tar of the context can hold the Dockerfile"))
        }
        Some(file) if file.as_os_str() == "-" => Ok((None, Some(Input::new(stdin())))),
        file => Ok((file.map(Path::to_owned), None)),
    }
}

/// `--build-context NAME=PLACE`; of equal names the last one counts.
pub(crate) fn named(texts: &[String]) -> Result<Vec<(String, String)>> {
    texts
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, place)) if !name.is_empty() && !place.is_empty() => {
                Ok((name.to_owned(), place.to_owned()))
            }
            _ => wrong("--build-context", text, "it is `NAME=PLACE`"),
        })
        .collect()
}

/// Whether a text is a URL that contexts are fetched from.
pub(crate) fn is_remote(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some(scheme) => matches!(scheme, "http" | "https" | "git" | "ssh"),
        None => text.starts_with("github.com/") || is_scp_like(text),
    }
}

/// `git@host:path`.
fn is_scp_like(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
    };
    word(user) && word(host) && !path.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_context_is() {
        for remote in
            ["https://h/x.git#main:sub", "http://h/c.tar.gz", "git@h:a/b", "github.com/a/b", "ssh://git@h/r"]
        {
            assert!(matches!(context(remote), Context::Remote(_)), "{remote}");
        }
        for folder in [".", "a/b", "/x", "user@host", "file:///x", "ext::sh"] {
            assert!(matches!(context(folder), Context::Folder(_)), "{folder}");
        }
        assert!(matches!(context("-"), Context::Stream(_)));
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("git@h:r");
        std::fs::create_dir(&name).unwrap();
        assert!(matches!(context(name.to_str().unwrap()), Context::Folder(_)));
    }

    #[test]
    fn standard_input_is_read_once() {
        assert!(dockerfile(Some(Path::new("-")), "-").is_err());
        assert!(matches!(dockerfile(Some(Path::new("-")), "."), Ok((None, Some(_)))));
        assert!(matches!(dockerfile(Some(Path::new("x")), "-"), Ok((Some(_), None))));
        assert!(matches!(dockerfile(None, "."), Ok((None, None))));
    }

    #[test]
    fn a_named_context_has_a_name_and_a_place() {
        let all = named(&["a=b=c".to_owned()]).unwrap();
        assert_eq!(all, [("a".to_owned(), "b=c".to_owned())]);
        for bad in ["a", "=b", "a="] {
            assert!(named(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
