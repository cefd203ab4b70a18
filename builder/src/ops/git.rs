//! The source that is a commit of a git repository.
//!
//! It is fetched by the `git` program. No library does all of it: `gix` fetches and checks out and does not update
//! submodules, and runs `ssh` as a program too; `git2` brings a TLS and an SSH library of its own. The program is kept
//! apart from this machine instead (`isolation`), and what the server says is checked (`resolve`).

mod checkout;
mod isolation;
mod program;
mod received;
mod resolve;
mod size;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use kiln_graph::url::redact;
use kiln_graph::{GitAccess, GitTimes, Submodules};
use kiln_oci::Digest;
use tokio::sync::OnceCell;

use super::{Op, Pin};
use crate::error::Cause;
use crate::flight::Crowd;
use crate::progress::Reporter;
use crate::session::Session;
use crate::stores::Stores;
use crate::value::Value;
pub use isolation::PASSED;
use program::Git;
use resolve::Pinned;

/// What is wanted of a repository; the fields are those of [`kiln_graph::SourceOp::Git`].
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where to fetch from.
    pub remote: String,
    /// Branch, tag, `refs/…` or commit.
    pub reference: Option<String>,
    /// Directory of the tree that becomes the root.
    pub subdir: Option<String>,
    /// What the commit must begin with.
    pub checksum: Option<String>,
    /// Whether `.git` stays.
    pub keep_git_dir: bool,
    /// What happens to submodules.
    pub submodules: Submodules,
    /// Which times the files have.
    pub times: GitTimes,
    /// Whether the checksum is the commit, unasked.
    pub fetch_by_commit: bool,
    /// How its server lets us in.
    pub access: GitAccess,
}

impl Wanted {
    /// An error about the repository.
    fn error(&self, reason: impl Into<String>) -> Cause {
        Cause::Git { remote: redact(&self.remote), reason: reason.into(), hint: None }
    }
}

/// What the references of repositories were found to be, once for a job: a branch that moves meanwhile stays what it
/// was for all of the job's vertices.
#[derive(Debug, Default)]
pub struct Pins {
    by_name: Mutex<HashMap<Name, Arc<OnceCell<Pinned>>>>,
}

/// A remote and a reference of it.
type Name = (String, Option<String>);

impl Pins {
    fn of(&self, wanted: &Wanted) -> Arc<OnceCell<Pinned>> {
        let key = (wanted.remote.clone(), wanted.reference.clone());
        let mut pins = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(pins.entry(key).or_default())
    }
}

/// Fetches a commit.
#[derive(Debug)]
pub struct GitOp {
    stores: Arc<Stores>,
    wanted: Wanted,
    pins: Arc<Pins>,
}

impl GitOp {
    /// What is `wanted` of a repository, pinned in `pins`.
    pub fn new(stores: Arc<Stores>, wanted: Wanted, pins: Arc<Pins>) -> Self {
        GitOp { stores, wanted, pins }
    }

    async fn pinned(&self, session: &Session) -> Result<Pinned, Cause> {
        resolve::check(&self.wanted)?;
        let pinned = match resolve::given(&self.wanted)? {
            Some(pinned) => pinned,
            None => {
                let cell = self.pins.of(&self.wanted);
                let ask = || async {
                    let git = Git::new(&self.stores, &self.wanted, session, None).await?;
                    resolve::ask(&git, &self.wanted).await
                };
                cell.get_or_try_init(ask).await?.clone()
            }
        };
        resolve::check_checksum(&self.wanted, &pinned)?;
        Ok(pinned)
    }

    /// What the source is. Where it comes from counts only where `.git` tells.
    fn identity(&self, pinned: &Pinned) -> Digest {
        let Wanted {
            remote,
            reference: _,
            subdir,
            checksum: _,
            keep_git_dir,
            submodules,
            times,
            fetch_by_commit: _,
            access: _,
        } = &self.wanted;
        let kept = keep_git_dir.then(|| (redact(remote), &pinned.object, &pinned.name));
        let commit = pinned.tip();
        Digest::of(format!("git {commit} {kept:?} {subdir:?} {submodules:?} {times:?}").as_bytes())
    }
}

impl Op for GitOp {
    fn definition(&self) -> Digest {
        Digest::of(format!("git {} {:?}", redact(&self.wanted.remote), self.wanted.reference).as_bytes())
    }

    fn pin<'a>(
        &'a self,
        session: &'a Session,
        _reporter: &'a dyn Reporter,
    ) -> BoxFuture<'a, Result<Option<Pin>, Cause>> {
        Box::pin(async move {
            let pinned = self.pinned(session).await?;
            let Wanted { remote, reference, .. } = &self.wanted;
            session.materials.add_commit(remote, reference.as_deref(), pinned.tip());
            let identity = self.identity(&pinned);
            Ok(Some(Pin { identity, value: None }))
        })
    }

    fn run<'a>(&'a self, _inputs: Vec<Value>, crowd: &'a Crowd) -> BoxFuture<'a, Result<Vec<Value>, Cause>> {
        Box::pin(async {
            let session = crowd.session().unwrap_or_else(Session::empty);
            let work = async {
                let pinned = self.pinned(&session).await?;
                checkout::layers(&self.stores, &self.wanted, &pinned, &session, crowd).await
            };
            tokio::select! {
                layers = work => Ok(vec![Value::Layers(layers?)]),
                () = crowd.cancel().cancelled() => Err(Cause::Cancelled),
            }
        })
    }
}
