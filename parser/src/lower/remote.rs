//! Sources of `ADD` that are elsewhere: downloads and git repositories.

use kiln_graph::SourceOp;

use crate::remote::{self, Parsed};

pub(super) use crate::remote::{is_git, is_http};

/// A remote source and the path inside it that is copied.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) op: SourceOp,
    pub(super) path: String,
}

/// Whether a source is elsewhere.
pub(crate) fn is_remote(text: &str) -> bool {
    is_http(text) || is_git(text)
}

/// The source that a URL means.
pub(super) fn source(
    text: &str,
    checksum: Option<&str>,
    keep_git_dir: Option<bool>,
) -> Result<Remote, String> {
    if is_git(text) { git(text, checksum, keep_git_dir) } else { http(text, checksum) }
}

fn http(url: &str, checksum: Option<&str>) -> Result<Remote, String> {
    let checksum = checksum.map(str::parse).transpose();
    let checksum = checksum.map_err(|error: kiln_oci::digest::DigestError| error.to_string())?;
    let filename = remote::filename(url);
    let path = format!("/{filename}");
    let op = SourceOp::Http { url: url.to_owned(), checksum, filename, mode: None, owner: None };
    Ok(Remote { op, path })
}

fn git(text: &str, checksum: Option<&str>, keep_git_dir: Option<bool>) -> Result<Remote, String> {
    let Parsed { remote, mut git } = remote::parse(text)?;
    git.checksum = same(checksum.map(str::to_owned), git.checksum, "checksum")?;
    git.keep_git_dir = same(keep_git_dir, git.keep_git_dir, "keep-git-dir")?;
    Ok(Remote { op: git.source(remote), path: "/".to_owned() })
}

fn same<T: PartialEq>(flag: Option<T>, url: Option<T>, what: &str) -> Result<Option<T>, String> {
    match (flag, url) {
        (Some(flag), Some(url)) if flag != url => Err(format!("the flag and the URL disagree on `{what}`")),
        (flag, url) => Ok(flag.or(url)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_urls_may_not_disagree() {
        let git = "https://h/a.git?checksum=ab&keep-git-dir=false";
        assert!(source(git, Some("ab"), Some(false)).is_ok());
        assert!(source(git, Some("cd"), None).unwrap_err().contains("`checksum`"));
        assert!(source(git, None, Some(true)).unwrap_err().contains("`keep-git-dir`"));
    }

    #[test]
    fn a_download_is_copied_by_its_name() {
        let remote = source("https://h/x/y.txt?z", None, None).unwrap();
        assert_eq!(remote.path, "/y.txt");
        assert!(source("https://h/x", Some("sha256:12"), None).is_err());
    }
}
