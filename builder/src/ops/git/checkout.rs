//! A commit to a filesystem: fetched, checked out, and copied with the modes that git knows.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::Arc;

use kiln_graph::{GitTimes, Submodules};
use kiln_snapshot::copy::{CopyOptions, copy};
use kiln_snapshot::filter::Verdict;
use kiln_sys::fs::{self, Owner, Root};

use super::Wanted;
use super::program::Git;
use super::resolve::Pinned;
use crate::error::Cause;
use crate::progress::Reporter;
use crate::session::Session;
use crate::solver::blocking;
use crate::stores::Stores;
use crate::value::Layers;
use crate::workspace::Workspace;

const ROOT: Owner = Owner { uid: 0, gid: 0 };
/// What every fetch is asked for and not. One that is to be quiet says nothing of what it receives either.
const FETCH: [&str; 7] = [
    "fetch",
    "--progress",
    "--no-tags",
    "--no-recurse-submodules",
    "--no-write-fetch-head",
    "--no-auto-maintenance",
    "--update-head-ok",
];

/// The files of a commit as a layer.
pub(super) async fn layers(
    stores: &Arc<Stores>,
    wanted: &Wanted,
    pinned: &Pinned,
    session: &Session,
    reporter: &dyn Reporter,
) -> Result<Layers, Cause> {
    let git = Git::new(stores, wanted, session, Some(&pinned.object)).await?;
    let kept = pinned.name.as_deref().filter(|_| wanted.keep_git_dir);
    fetch(&git, wanted, pinned, kept, reporter).await?;
    git.run(&["checkout", "--quiet", "--force", "--detach", pinned.tip()]).await?;
    if wanted.submodules == Submodules::Recursive && git.tree().join(".gitmodules").is_file() {
        update_submodules(&git, reporter).await?;
    }
    let mtime = match wanted.times {
        GitTimes::Checkout => None,
        GitTimes::Commit => Some(commit_time(&git, wanted, pinned).await?),
    };
    let (stores, wanted) = (stores.clone(), wanted.clone());
    blocking(move || collect(&stores, &wanted, &git, mtime)).await
}

/// Makes the commit be there: by its reference, which every server allows; by itself, should the reference have moved;
/// and else out of everything that the server has.
async fn fetch(
    git: &Git,
    wanted: &Wanted,
    pinned: &Pinned,
    kept: Option<&str>,
    reporter: &dyn Reporter,
) -> Result<(), Cause> {
    let tip = pinned.tip();
    let mut first_error = None;
    for source in sources(wanted, pinned, kept) {
        let is_whole = !source.iter().any(|arg| arg == DEPTH);
        // What was fetched before of another commit has its history cut; the commit may be beyond that.
        let is_cut = is_whole && git.tree().join(".git/shallow").exists();
        let words = FETCH.into_iter().chain(is_cut.then_some("--unshallow"));
        let args: Vec<&str> = words.chain(source.iter().map(String::as_str)).collect();
        match git.fetch(&args, reporter).await {
            Err(Cause::Cancelled) => return Err(Cause::Cancelled),
            Err(error) => drop(first_error.get_or_insert(error)),
            Ok(_) => {}
        }
        if git.run(&["cat-file", "-e", &format!("{tip}^{{commit}}")]).await.is_ok() {
            return match kept {
                Some(name) => git.run(&["update-ref", "--no-deref", name, &pinned.object]).await.map(drop),
                None => Ok(()),
            };
        }
    }
    Err(first_error.unwrap_or_else(|| wanted.error(format!("the commit `{tip}` is not there any more"))))
}

/// Asks for a commit without its history.
const DEPTH: &str = "--depth=1";
/// Where a reference goes whose name is not kept.
const FETCHED: &str = "refs/kiln/fetched";

/// What is asked for, one after another.
fn sources(wanted: &Wanted, pinned: &Pinned, kept: Option<&str>) -> Vec<Vec<String>> {
    let asked = |depth: Option<&str>, refspecs: &[&str]| {
        let words = depth.into_iter().chain(["--end-of-options", "origin"]).chain(refspecs.iter().copied());
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let depth = Some(DEPTH);
    let by_name = pinned.name.as_ref().filter(|_| !wanted.fetch_by_commit);
    let by_name = by_name.map(|name| format!("+{name}:{}", kept.unwrap_or(FETCHED)));
    let all = ["+refs/heads/*:refs/kiln/heads/*", "+refs/tags/*:refs/kiln/tags/*"];
    let mut sources = Vec::new();
    sources.extend(by_name.iter().map(|refspec| asked(depth, &[refspec])));
    sources.push(asked(depth, &[&pinned.object]));
    if !wanted.fetch_by_commit {
        // Servers that only hand out files cannot cut history.
        sources.extend(by_name.iter().map(|refspec| asked(None, &[refspec])));
        sources.push(asked(None, &all));
    }
    sources
}

async fn update_submodules(git: &Git, reporter: &dyn Reporter) -> Result<(), Cause> {
    let update = ["submodule", "update", "--progress", "--init", "--recursive", "--depth=1"];
    match git.fetch(&update, reporter).await {
        // A server that does not hand out single commits, or cannot cut history.
        Err(Cause::Git { reason, .. }) if reason.contains("not our ref") || reason.contains("shallow") => {
            git.fetch(&update[..update.len() - 1], reporter).await
        }
        result => result,
    }
}

async fn commit_time(git: &Git, wanted: &Wanted, pinned: &Pinned) -> Result<i64, Cause> {
    let output = git.run(&["show", "--no-patch", "--format=%ct", pinned.tip()]).await?;
    let text = String::from_utf8_lossy(&output);
    text.trim().parse().map_err(|_| wanted.error("its commit has no time"))
}

/// Copies the wanted folder to a filesystem of its own.
fn collect(stores: &Arc<Stores>, wanted: &Wanted, git: &Git, mtime: Option<i64>) -> Result<Layers, Cause> {
    let from = Root::from_fd(subdir(wanted, &Root::open(git.tree())?)?);
    let workspace = Workspace::on(&stores.store, &Layers::scratch())?;
    let keep = wanted.keep_git_dir;
    let filter = move |path: &[u8], _is_dir: bool| {
        // Submodules have a file of this name, which says where on this machine their repository was.
        let is_git = path == b".git" || path.ends_with(b"/.git");
        if is_git && !keep { Verdict::Prune } else { Verdict::Take }
    };
    let options = CopyOptions {
        owner: Some(ROOT),
        mode: Some(&mode),
        filter: Some(&filter),
        mtime,
        ..CopyOptions::exact()
    };
    copy(&from, Path::new("."), &workspace.root()?, Path::new("."), &options)?;
    workspace.commit()
}

/// Git knows files and programs; what is read-only in `.git` stays so.
fn mode(mode: u32, is_dir: bool) -> u32 {
    match (is_dir || mode & 0o100 != 0, mode & 0o200 == 0) {
        (true, _) => 0o755,
        (false, true) => 0o444,
        (false, false) => 0o644,
    }
}

/// The wanted folder: each component is a real directory, for a link could lead anywhere.
fn subdir(wanted: &Wanted, tree: &Root) -> Result<OwnedFd, Cause> {
    let path = wanted.subdir.as_deref().unwrap_or_default();
    let wrong = |reason: &str| wanted.error(format!("folder `{path}`: {reason}"));
    let mut dir = tree.open_dir(".")?;
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) if name != ".git" => {
                dir = fs::open_dir(dir.as_fd(), name)
                    .map_err(|_| wrong("there is no such folder in the commit"))?;
            }
            Component::RootDir | Component::CurDir => {}
            _ => return Err(wrong("it leads out of the repository")),
        }
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_that_git_knows() {
        for (found, is_dir, expected) in [
            (0o664, false, 0o644),
            (0o600, false, 0o644),
            (0o700, false, 0o755),
            (0o444, false, 0o444),
            (0o700, true, 0o755),
        ] {
            assert_eq!(mode(found, is_dir), expected);
        }
    }
}
