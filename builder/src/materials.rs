//! What the sources of a build turned out to be, noted while they are pinned: a branch is a commit then, a URL a digest.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use kiln_graph::url::redact;
use kiln_oci::Digest;

/// What was found behind the names of sources; images are pinned in the graph itself.
#[derive(Debug, Default)]
pub struct Materials {
    commits: Mutex<BTreeMap<(String, Option<String>), String>>,
    downloads: Mutex<BTreeMap<String, Digest>>,
}

impl Materials {
    /// Notes the commit behind a reference of a repository.
    pub fn add_commit(&self, remote: &str, reference: Option<&str>, commit: &str) {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        commits.insert((redact(remote), reference.map(str::to_owned)), commit.to_owned());
    }

    /// Notes what a URL had.
    pub fn add_download(&self, url: &str, digest: &Digest) {
        let mut downloads = self.downloads.lock().unwrap_or_else(PoisonError::into_inner);
        downloads.insert(redact(url), digest.clone());
    }

    /// The commit behind a reference, as far as somebody asked for it.
    pub fn commit(&self, remote: &str, reference: Option<&str>) -> Option<String> {
        let commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        commits.get(&(redact(remote), reference.map(str::to_owned))).cloned()
    }

    /// What a URL had, as far as somebody asked.
    pub fn download(&self, url: &str) -> Option<Digest> {
        let downloads = self.downloads.lock().unwrap_or_else(PoisonError::into_inner);
        downloads.get(&redact(url)).cloned()
    }
}
