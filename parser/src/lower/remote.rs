//! Sources of `ADD` that are elsewhere: downloads and git repositories.

use kiln_graph::{SourceOp, Submodules};

/// A remote source and the path inside it that is copied.
pub(super) struct Remote {
    pub(super) op: SourceOp,
    pub(super) path: String,
}

/// Whether a source is elsewhere.
pub(crate) fn is_remote(text: &str) -> bool {
    is_http(text) || is_git(text)
}

/// Whether a source is a download.
pub(super) fn is_http(text: &str) -> bool {
    has_http_scheme(text) && !is_git(text)
}

fn has_http_scheme(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Whether a source is a git repository: by scheme, as `user@host:path`, or by a path that ends in `.git`.
pub(super) fn is_git(text: &str) -> bool {
    let path = text.split(['#', '?']).next().unwrap_or_default();
    if has_http_scheme(text) {
        return path.ends_with(".git");
    }
    text.starts_with("git://") || text.starts_with("ssh://") || is_scp_like(path)
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

/// The source that a URL means.
pub(super) fn source(
    text: &str,
    checksum: Option<&str>,
    keep_git_dir: Option<bool>,
) -> Result<Remote, String> {
    if is_git(text) {
        return git(text, checksum, keep_git_dir);
    }
    let checksum = checksum
        .map(str::parse)
        .transpose()
        .map_err(|error: kiln_oci::digest::DigestError| error.to_string())?;
    let filename = filename(text);
    let path = format!("/{filename}");
    let url = text.to_owned();
    Ok(Remote { op: SourceOp::Http { url, checksum, filename, mode: None, owner: None }, path })
}

/// The last part of the URL's path.
fn filename(url: &str) -> String {
    let path = url.split(['#', '?']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let decoded = percent_decode(path);
    match decoded.trim_end_matches('/').rsplit('/').next() {
        None | Some("" | "." | "..") => "__unnamed__".to_owned(),
        Some(name) => name.to_owned(),
    }
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = |b: &u8| (*b as char).to_digit(16);
        let pair = tail.first().and_then(hex).zip(tail.get(1).and_then(hex));
        match (first, pair) {
            (b'%', Some((high, low))) if (high, low) != (0, 0) => {
                bytes.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[derive(Default)]
struct Git {
    reference: Option<String>,
    subdir: Option<String>,
    checksum: Option<String>,
    keep_git_dir: Option<bool>,
    submodules: Option<bool>,
    seen: Vec<String>,
}

fn git(text: &str, checksum: Option<&str>, keep_git_dir: Option<bool>) -> Result<Remote, String> {
    let (rest, fragment) = text.split_once('#').map_or((text, ""), |(rest, fragment)| (rest, fragment));
    let (remote, query) = rest.split_once('?').map_or((rest, ""), |(remote, query)| (remote, query));
    let mut git = Git::default();
    query.split('&').filter(|pair| !pair.is_empty()).try_for_each(|pair| git.parameter(pair))?;
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    git.set_reference(reference)?;
    if !subdir.is_empty() && git.subdir.replace(subdir.to_owned()).is_some() {
        return Err("the subdirectory is given twice".to_owned());
    }
    let checksum = same(checksum.map(str::to_owned), git.checksum, "checksum")?;
    let keep = same(keep_git_dir, git.keep_git_dir, "keep-git-dir")?.unwrap_or(false);
    let op = SourceOp::Git {
        remote: remote.to_owned(),
        reference: git.reference,
        subdir: git.subdir,
        checksum,
        keep_git_dir: keep,
        submodules: if git.submodules == Some(false) { Submodules::Skip } else { Submodules::Recursive },
    };
    Ok(Remote { op, path: "/".to_owned() })
}

fn same<T: PartialEq>(flag: Option<T>, url: Option<T>, what: &str) -> Result<Option<T>, String> {
    match (flag, url) {
        (Some(flag), Some(url)) if flag != url => Err(format!("the flag and the URL disagree on `{what}`")),
        (flag, url) => Ok(flag.or(url)),
    }
}

impl Git {
    fn parameter(&mut self, pair: &str) -> Result<(), String> {
        let (key, value) = pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value)));
        let key = if key == "commit" { "checksum" } else { key };
        if self.seen.iter().any(|seen| seen == key) {
            return Err(format!("query parameter `{key}` is given twice"));
        }
        self.seen.push(key.to_owned());
        let text = percent_decode(value.unwrap_or_default());
        let flag = || match value {
            None | Some("" | "1" | "true") => Ok(true),
            Some("0" | "false") => Ok(false),
            Some(other) => Err(format!("invalid value `{other}` of query parameter `{key}`")),
        };
        match key {
            "ref" => self.set_reference(&text)?,
            "tag" => self.set_reference(&format!("refs/tags/{text}"))?,
            "branch" => self.set_reference(&format!("refs/heads/{text}"))?,
            "subdir" => self.subdir = Some(text),
            "checksum" => self.checksum = Some(text),
            "keep-git-dir" => self.keep_git_dir = Some(flag()?),
            "submodules" => self.submodules = Some(flag()?),
            "mtime" if text == "checkout" => {}
            "fetch-by-commit" if !flag()? => {}
            "mtime" | "fetch-by-commit" => {
                return Err(format!("query parameter `{pair}` is not supported yet"));
            }
            _ => return Err(format!("unexpected query parameter `{key}`")),
        }
        Ok(())
    }

    fn set_reference(&mut self, reference: &str) -> Result<(), String> {
        if reference.is_empty() {
            return Ok(());
        }
        match self.reference.replace(reference.to_owned()) {
            Some(old) if old != reference => {
                Err(format!("the reference is given twice: `{old}` and `{reference}`"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        for git in [
            "https://h/a.git",
            "https://h/a.git#v1:dir",
            "git://h/a",
            "ssh://h/a",
            "git@h:a/b",
            "https://h/a.git?ref=x",
        ] {
            assert!(is_git(git) && !is_http(git), "{git}");
        }
        for http in ["https://h/a.tar", "http://h/a.git/x", "https://h/?x=a.git"] {
            assert!(is_http(http) && !is_git(http), "{http}");
        }
        for local in ["a.git", "github.com/a/b", "a@b", "/x:y"] {
            assert!(!is_http(local) && !is_git(local), "{local}");
        }
    }

    #[test]
    fn names_come_from_the_path() {
        assert_eq!(filename("https://h/a/b%20c.tar?x=/y"), "b c.tar");
        assert_eq!(filename("https://h"), "__unnamed__");
        assert_eq!(filename("https://h/.."), "__unnamed__");
        assert_eq!(filename("https://h/a%2Fb"), "b");
    }

    #[test]
    fn git_parameters() {
        let Ok(Remote { op: SourceOp::Git { remote, reference, subdir, .. }, .. }) =
            source("https://h/a.git?tag=v1&subdir=x&submodules=0", None, None)
        else {
            panic!()
        };
        assert_eq!(
            (remote.as_str(), reference.as_deref(), subdir.as_deref()),
            ("https://h/a.git", Some("refs/tags/v1"), Some("x"))
        );
        for bad in ["?ref=a#b", "?x=1", "?ref=a&ref=a", "?mtime=commit", "?submodules=x"] {
            assert!(source(&format!("https://h/a.git{bad}"), None, None).is_err(), "{bad}");
        }
    }
}
