//! URLs that stand for files elsewhere: git repositories and downloads, as `ADD` and contexts name them.

use kiln_graph::{GitAccess, GitTimes, SourceOp, Submodules, boolean};

/// Whether a text is a download.
pub fn is_http(text: &str) -> bool {
    has_http_scheme(text) && !is_git(text)
}

/// Whether a text is a git repository: by scheme, as `user@host:path`, or by a path that ends in `.git`.
pub fn is_git(text: &str) -> bool {
    let path = text.split(['#', '?']).next().unwrap_or_default();
    if has_http_scheme(text) {
        return path.ends_with(".git");
    }
    has_scheme(text, "git") || has_scheme(text, "ssh") || is_scp_like(path)
}

/// A git repository as the source that it is, or what is wrong with its URL: `remote[?parameter…][#reference[:folder]]`.
pub fn git(text: &str) -> Result<SourceOp, String> {
    let Parsed { remote, git } = parse(text)?;
    Ok(git.source(remote))
}

/// A download that is called `filename` in the result's root.
pub fn http(url: &str, filename: &str) -> SourceOp {
    let (url, filename) = (url.to_owned(), filename.to_owned());
    SourceOp::Http { url, checksum: None, filename, mode: None, owner: None }
}

/// The last part of a URL's path.
pub(crate) fn filename(url: &str) -> String {
    let path = url.split(['#', '?']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let decoded = percent_decode(path);
    match decoded.trim_end_matches('/').rsplit('/').next() {
        None | Some("" | "." | "..") => "__unnamed__".to_owned(),
        Some(name) => name.to_owned(),
    }
}

fn has_http_scheme(text: &str) -> bool {
    has_scheme(text, "http") || has_scheme(text, "https")
}

fn has_scheme(text: &str, scheme: &str) -> bool {
    text.split_once("://").is_some_and(|(written, _)| written.eq_ignore_ascii_case(scheme))
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

/// A git URL taken apart.
pub(crate) struct Parsed {
    pub(crate) remote: String,
    pub(crate) git: Git,
}

/// What the query and the fragment of a git URL say.
#[derive(Default)]
pub(crate) struct Git {
    pub(crate) checksum: Option<String>,
    pub(crate) keep_git_dir: Option<bool>,
    reference: Option<String>,
    subdir: Option<String>,
    submodules: Option<bool>,
    times: GitTimes,
    fetch_by_commit: bool,
    seen: Vec<String>,
}

pub(crate) fn parse(text: &str) -> Result<Parsed, String> {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut git = Git::default();
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    git.set_reference(&percent_decode(reference))?;
    git.set_subdir(&percent_decode(subdir))?;
    query.split('&').filter(|pair| !pair.is_empty()).try_for_each(|pair| git.parameter(pair))?;
    Ok(Parsed { remote: remote.to_owned(), git })
}

impl Git {
    pub(crate) fn source(self, remote: String) -> SourceOp {
        SourceOp::Git {
            remote,
            reference: self.reference,
            subdir: self.subdir,
            checksum: self.checksum,
            keep_git_dir: self.keep_git_dir.unwrap_or(false),
            submodules: if self.submodules == Some(false) { Submodules::Skip } else { Submodules::Recursive },
            times: self.times,
            fetch_by_commit: self.fetch_by_commit,
            access: GitAccess::default(),
        }
    }

    fn parameter(&mut self, pair: &str) -> Result<(), String> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = if key == "commit" { "checksum" } else { key };
        if self.seen.iter().any(|seen| seen == key) {
            return Err(format!("query parameter `{key}` is given twice"));
        }
        self.seen.push(key.to_owned());
        let text = percent_decode(&value.replace('+', " "));
        match (key, text.as_str()) {
            ("keep-git-dir", text) => self.keep_git_dir = Some(flag(key, text)?),
            ("submodules", text) => self.submodules = Some(flag(key, text)?),
            ("fetch-by-commit", text) => self.fetch_by_commit = flag(key, text)?,
            ("ref" | "tag" | "branch" | "subdir" | "checksum" | "mtime", "") => {
                return Err(format!("query parameter `{key}` has no value"));
            }
            ("ref", text) => self.set_reference(text)?,
            ("tag", text) => self.set_reference(&qualified("refs/tags/", text))?,
            ("branch", text) => self.set_reference(&qualified("refs/heads/", text))?,
            ("subdir", text) => self.set_subdir(text)?,
            ("checksum", text) => self.checksum = Some(text.to_owned()),
            ("mtime", "checkout") => self.times = GitTimes::Checkout,
            ("mtime", "commit") => self.times = GitTimes::Commit,
            ("mtime", text) => {
                return Err(format!("query parameter `mtime` is `checkout` or `commit`, not `{text}`"));
            }
            _ => return Err(format!("unexpected query parameter `{key}`")),
        }
        Ok(())
    }

    fn set_reference(&mut self, reference: &str) -> Result<(), String> {
        set(&mut self.reference, reference, "reference")
    }

    fn set_subdir(&mut self, subdir: &str) -> Result<(), String> {
        set(&mut self.subdir, subdir, "folder")
    }
}

/// Sets what may be said in several places, if they agree.
fn set(slot: &mut Option<String>, text: &str, what: &str) -> Result<(), String> {
    match slot {
        _ if text.is_empty() => Ok(()),
        Some(old) if old != text => Err(format!("the {what} is given twice: `{old}` and `{text}`")),
        _ => {
            *slot = Some(text.to_owned());
            Ok(())
        }
    }
}

fn qualified(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

/// A flag of a query; without a value it is set.
fn flag(key: &str, text: &str) -> Result<bool, String> {
    let set = if text.is_empty() { Some(true) } else { boolean::parse(text) };
    set.ok_or_else(|| format!("query parameter `{key}` is `true` or `false`, not `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        for text in [
            "https://h/a.git",
            "HTTPS://h/a.git#v1:dir",
            "git://h/a",
            "ssh://h/a",
            "git@h:a/b",
            "https://h/a.git?ref=x",
        ] {
            assert!(is_git(text) && !is_http(text), "{text}");
        }
        for text in ["https://h/a.tar", "http://h/a.git/x", "https://h/?x=a.git"] {
            assert!(is_http(text) && !is_git(text), "{text}");
        }
        for text in ["a.git", "github.com/a/b", "a@b", "/x:y", "file:///x.git", "ext::sh"] {
            assert!(!is_http(text) && !is_git(text), "{text}");
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
    fn every_parameter_is_read() {
        let text = "https://h/a.git?tag=v1&subdir=x&submodules=0&mtime=commit&keep-git-dir&commit=ab\
                    &fetch-by-commit=true";
        let expected = SourceOp::Git {
            remote: "https://h/a.git".to_owned(),
            reference: Some("refs/tags/v1".to_owned()),
            subdir: Some("x".to_owned()),
            checksum: Some("ab".to_owned()),
            keep_git_dir: true,
            submodules: Submodules::Skip,
            times: GitTimes::Commit,
            fetch_by_commit: true,
            access: GitAccess::default(),
        };
        assert_eq!(git(text), Ok(expected));
    }

    #[test]
    fn query_and_fragment_may_agree_and_not_differ() {
        assert!(git("https://h/a.git?ref=a&subdir=x#a:x").is_ok());
        for bad in [
            "?ref=a#b",
            "?subdir=a#:b",
            "?x=1",
            "?ref=a&ref=a",
            "?tag=a&branch=a",
            "?checksum=a&commit=a",
            "?mtime=now",
            "?submodules=x",
            "?ref=",
            "?tag",
        ] {
            assert!(git(&format!("https://h/a.git{bad}")).is_err(), "{bad}");
        }
    }
}
