//! Which commit a reference is, and what references and remotes may look like.

use super::Wanted;
use super::program::Git;
use crate::error::Cause;

/// Protocols that repositories are fetched by. Files of this machine and programs (`ext::…`) are not among them.
pub(super) const PROTOCOLS: [&str; 4] = ["https", "http", "git", "ssh"];
/// Longest reference, subdirectory or URL in bytes.
const MAX_TEXT: usize = 4096;

/// What a reference was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pinned {
    /// The object that it names: a commit, or the tag on one.
    pub(super) object: String,
    /// The commit that a tag is on.
    pub(super) commit: Option<String>,
    /// The whole name of the reference; none for a commit.
    pub(super) name: Option<String>,
}

impl Pinned {
    fn of_commit(commit: &str) -> Pinned {
        Pinned { object: commit.to_ascii_lowercase(), commit: None, name: None }
    }

    /// The commit, as far as it is known.
    pub(super) fn tip(&self) -> &str {
        self.commit.as_ref().unwrap_or(&self.object)
    }
}

/// Refuses what could mean something else to `git` than it says.
pub(super) fn check(wanted: &Wanted) -> Result<(), Cause> {
    let Wanted { remote, reference, checksum, .. } = wanted;
    if let Some(reason) = remote_problem(remote) {
        return Err(Cause::Invalid(format!(
            "`{}` is no git repository: {reason}",
            kiln_graph::url::redact(remote)
        )));
    }
    if let Some(reference) = reference.as_ref().filter(|reference| !is_reference(reference)) {
        return Err(wanted.error(format!("`{reference}` is no reference")));
    }
    match checksum {
        Some(text) if !is_hex(text) => Err(wanted.error(format!("the checksum `{text}` is no commit"))),
        _ => Ok(()),
    }
}

fn remote_problem(remote: &str) -> Option<&'static str> {
    if remote.len() > MAX_TEXT || remote.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some("its URL is too long or has spaces");
    }
    let host = super::super::credentials::authority(remote);
    if remote.starts_with('-') || host.starts_with('-') {
        return Some("it begins like an option");
    }
    match remote.split_once("://") {
        Some((scheme, _)) if PROTOCOLS.iter().any(|known| scheme.eq_ignore_ascii_case(known)) => None,
        Some(_) => Some("its protocol is none of `https`, `http`, `ssh` and `git`"),
        None if remote.contains("::") || !remote.contains(':') => Some("it has no protocol"),
        None => None,
    }
}

/// The rules of `git check-ref-format`, and no word that could be taken for an option.
fn is_reference(text: &str) -> bool {
    let bad = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    !(text.is_empty()
        || text.len() > MAX_TEXT
        || text == "@"
        || text.starts_with('-')
        || text.ends_with('.')
        || text.contains("..")
        || text.contains("@{")
        || text.contains(bad)
        || text.split('/').any(bad_part))
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A whole commit, of a SHA-1 or a SHA-256 repository.
fn is_commit(text: &str) -> bool {
    is_hex(text) && matches!(text.len(), 40 | 64)
}

/// The commit, where it is known without asking.
pub(super) fn given(wanted: &Wanted) -> Result<Option<Pinned>, Cause> {
    let Wanted { reference, checksum, fetch_by_commit, .. } = wanted;
    match (reference, checksum) {
        (Some(commit), _) if is_commit(commit) => Ok(Some(Pinned::of_commit(commit))),
        (_, Some(commit)) if *fetch_by_commit && is_commit(commit) => {
            let name = reference.as_ref().map(|name| match name.starts_with("refs/") {
                true => name.clone(),
                false => format!("refs/heads/{name}"),
            });
            Ok(Some(Pinned { name, ..Pinned::of_commit(commit) }))
        }
        _ if *fetch_by_commit => {
            Err(wanted.error("`fetch-by-commit` needs a whole commit as reference or checksum"))
        }
        _ => Ok(None),
    }
}

/// Asks the server.
pub(super) async fn ask(git: &Git, wanted: &Wanted) -> Result<Pinned, Cause> {
    let reference = wanted.reference.as_deref().unwrap_or("HEAD");
    let peeled = format!("{reference}^{{}}");
    let args = ["ls-remote", "--symref", "--end-of-options", "origin", reference, &peeled];
    let listed = git.run(&args).await?;
    let listed = String::from_utf8_lossy(&listed);
    let found = match &wanted.reference {
        Some(reference) => find(&listed, reference),
        None => find_head(&listed),
    };
    found.ok_or_else(|| wanted.error(format!("it has no reference `{reference}`")))
}

pub(super) fn check_checksum(wanted: &Wanted, pinned: &Pinned) -> Result<(), Cause> {
    let Some(checksum) = &wanted.checksum else { return Ok(()) };
    let checksum = checksum.to_ascii_lowercase();
    if pinned.object.starts_with(&checksum) || pinned.tip().starts_with(&checksum) {
        return Ok(());
    }
    Err(wanted.error(format!("the commit is `{}` and not `{checksum}`", pinned.tip())))
}

/// The default branch, with its name where the server tells one that can be a reference.
fn find_head(listed: &str) -> Option<Pinned> {
    let lines =
        || listed.lines().filter_map(|line| line.split_once('\t')).filter(|(_, name)| *name == "HEAD");
    let object = lines().map(|(object, _)| object).find(|object| is_commit(object))?;
    let name = lines().find_map(|(target, _)| target.strip_prefix("ref: "));
    let name = name.filter(|name| name.starts_with("refs/") && is_reference(name)).map(str::to_owned);
    Some(Pinned { name, ..Pinned::of_commit(object) })
}

/// Branches win over tags of the same name, and a name as it was written over both.
fn find(listed: &str, reference: &str) -> Option<Pinned> {
    let short = |prefix: &str| reference.strip_prefix(prefix).unwrap_or(reference).to_owned();
    let names = [
        format!("refs/{}", short("refs/")),
        format!("refs/heads/{}", short("refs/heads/")),
        format!("refs/tags/{}", short("refs/tags/")),
    ];
    let object_of = |name: &str| {
        let line = listed.lines().filter_map(|line| line.split_once('\t')).find(|(_, known)| *known == name);
        line.map(|(object, _)| object).filter(|object| is_commit(object)).map(str::to_owned)
    };
    names.into_iter().find_map(|name| {
        let object = object_of(&name)?;
        Some(Pinned { commit: object_of(&format!("{name}^{{}}")), object, name: Some(name) })
    })
}

#[cfg(test)]
mod tests {
    use kiln_graph::{GitAccess, GitTimes, Submodules};

    use super::*;

    fn wanted(remote: &str, reference: Option<&str>, checksum: Option<&str>) -> Wanted {
        Wanted {
            remote: remote.to_owned(),
            reference: reference.map(str::to_owned),
            subdir: None,
            checksum: checksum.map(str::to_owned),
            keep_git_dir: false,
            submodules: Submodules::Recursive,
            times: GitTimes::Checkout,
            fetch_by_commit: false,
            access: GitAccess::default(),
        }
    }

    #[test]
    fn only_references_are_taken_for_such() {
        for good in ["main", "v1.0", "refs/heads/a/b", "feature/-x", "HEAD", "a@b"] {
            assert!(is_reference(good), "{good}");
        }
        for bad in [
            "-x",
            "--upload-pack=touch /canary",
            "a..b",
            "a b",
            "a^{}",
            "a:b",
            "@",
            "@{1}",
            "a/.b",
            "a//b",
            "/a",
            "a/",
            "x.lock",
            "a\nb",
            "",
            "a*",
        ] {
            assert!(!is_reference(bad), "{bad:?}");
        }
    }

    #[test]
    fn only_protocols_of_the_network_are_spoken() {
        let allowed = |remote: &str| check(&wanted(remote, None, None)).is_ok();
        for good in ["https://h/r.git", "http://h/r", "git://h/r", "ssh://git@h/r", "git@h:r.git"] {
            assert!(allowed(good), "{good}");
        }
        for bad in [
            "file:///etc",
            "/etc",
            "ext::sh -c touch% /canary",
            "ssh://-oProxyCommand=x/r",
            "--upload-pack=x",
            "ftp://h/r",
            "ext::x",
            "https://h/r\nx",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn a_tag_is_peeled_and_a_branch_wins() {
        let (a, b, c) = ("a".repeat(40), "b".repeat(40), "c".repeat(40));
        let listed = format!("{a}\trefs/tags/v1\n{b}\trefs/tags/v1^{{}}\n");
        let pinned = find(&listed, "v1").unwrap();
        assert_eq!((pinned.object.as_str(), pinned.tip()), (a.as_str(), b.as_str()));
        assert_eq!(pinned.name.as_deref(), Some("refs/tags/v1"));
        let listed = format!("{listed}{c}\trefs/heads/v1\n");
        assert_eq!(find(&listed, "v1").unwrap().tip(), c);
        assert_eq!(find(&listed, "refs/tags/v1").unwrap().tip(), b);
        assert_eq!(find(&listed, "v2"), None);
        assert_eq!(find("not a commit\trefs/heads/v1\n", "v1"), None);
    }

    #[test]
    fn a_server_cannot_name_its_default_branch_like_an_option() {
        let a = "a".repeat(40);
        let listed = |name: &str| format!("ref: {name}\tHEAD\n{a}\tHEAD\n");
        assert_eq!(find_head(&listed("refs/heads/main")).unwrap().name.as_deref(), Some("refs/heads/main"));
        for name in ["--upload-pack=x", "refs/heads/a b", "refs/../x"] {
            assert_eq!(find_head(&listed(name)).unwrap().name, None);
        }
    }

    #[test]
    fn a_checksum_is_a_prefix_of_commit_or_tag() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let pinned = Pinned { object: a, commit: Some(b), name: None };
        for (checksum, fits) in [("aaaa", true), ("BB", true), ("cc", false)] {
            assert_eq!(check_checksum(&wanted("x", None, Some(checksum)), &pinned).is_ok(), fits);
        }
        assert!(check(&wanted("https://h/r", None, Some("nothex"))).is_err());
    }
}
