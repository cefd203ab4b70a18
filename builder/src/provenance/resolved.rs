//! What a build was made of: images, commits and downloads with their digests, and what has none.

use std::collections::{BTreeMap, BTreeSet};

use kiln_graph::url::redact;
use kiln_graph::{Op, SourceOp};
use kiln_oci::{Digest, Platform, Reference};
use serde_json::{Value, json};

use super::{Facts, needed};
use crate::attest::purl::Purl;
use crate::materials::Materials;

/// The name of the build's own context among local sources.
const CONTEXT: &str = "context";

/// Content with a name and a digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Where it is, a URL or package URL.
    pub uri: String,
    /// The algorithm and the hex digits; a commit is `sha1` or `sha256`.
    pub digest: (&'static str, String),
}

/// The materials of a build.
#[derive(Debug, Default)]
pub struct Resolved {
    /// What has a digest: images, then repositories, then downloads.
    pub dependencies: Vec<Value>,
    /// The names of folders of this machine, which have none.
    pub locals: BTreeSet<String>,
    /// Whether something was fetched whose digest nobody noted.
    unknown: bool,
}

/// The kinds of material in the order in which they are listed.
#[derive(Debug, Default)]
struct Found {
    images: BTreeMap<String, Origin>,
    repositories: BTreeMap<String, Origin>,
    downloads: BTreeMap<String, Origin>,
}

impl Origin {
    /// A commit of a repository, by a URL with its reference as fragment.
    pub fn of_commit(remote: &str, reference: Option<&str>, commit: &str) -> Origin {
        let fragment = reference.map(|reference| format!("#{reference}")).unwrap_or_default();
        let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
        Origin { uri: format!("{}{fragment}", redact(remote)), digest: (algorithm, commit.to_owned()) }
    }

    /// What a URL had.
    pub fn of_download(url: &str, digest: &Digest) -> Origin {
        Origin { uri: redact(url), digest: set(digest) }
    }

    /// What a source turned out to be; `None` for files of this machine, and where nobody asked.
    pub fn of_source(source: &SourceOp, materials: &Materials) -> Option<Origin> {
        match source {
            SourceOp::Image { reference, platform } => image(reference, platform),
            SourceOp::OciLayout { store, digest, platform } => Some(layout(store, digest, platform)),
            SourceOp::Git { remote, reference, .. } => {
                let commit = materials.commit(remote, reference.as_deref())?;
                Some(Origin::of_commit(remote, reference.as_deref(), &commit))
            }
            SourceOp::Http { url, .. } => Some(Origin::of_download(url, &materials.download(url)?)),
            SourceOp::Local { .. } => None,
        }
    }
}

impl Resolved {
    /// What the image of `facts` was made of.
    pub fn of(facts: Facts<'_>) -> Resolved {
        let (mut found, mut resolved) = (Found::default(), Resolved::default());
        for vertex in needed(facts) {
            let Op::Source(source) = &vertex.op else { continue };
            match (source, Origin::of_source(source, facts.materials)) {
                (SourceOp::Local { name, .. }, _) => resolved.add_local(name, facts, &mut found),
                (source, Some(origin)) => found.add(source, origin),
                (_, None) => resolved.unknown = true,
            }
        }
        let Found { images, repositories, downloads } = found;
        let all = images.into_values().chain(repositories.into_values()).chain(downloads.into_values());
        resolved.dependencies = all.map(|origin| dependency(&origin)).collect();
        resolved
    }

    /// Whether everything that came from outside has a digest.
    pub fn is_complete(&self) -> bool {
        self.locals.is_empty() && !self.unknown
    }

    /// A context that was fetched is where it was fetched from.
    fn add_local(&mut self, name: &str, facts: Facts<'_>, found: &mut Found) {
        match &facts.request.context {
            Some(origin) if name == CONTEXT => {
                found.repositories.insert(origin.uri.clone(), origin.clone());
            }
            _ => drop(self.locals.insert(name.to_owned())),
        }
    }
}

impl Found {
    fn add(&mut self, source: &SourceOp, origin: Origin) {
        let map = match source {
            SourceOp::Git { .. } => &mut self.repositories,
            SourceOp::Http { .. } => &mut self.downloads,
            _ => &mut self.images,
        };
        map.insert(origin.uri.clone(), origin);
    }
}

fn dependency(Origin { uri, digest: (algorithm, hex) }: &Origin) -> Value {
    json!({ "uri": uri, "digest": { *algorithm: hex } })
}

/// With a tag the digest stands beside the name and not in it.
fn image(reference: &Reference, platform: &Platform) -> Option<Origin> {
    let digest = set(reference.digest()?);
    let named = if reference.tag().is_some() { reference.without_digest() } else { reference.clone() };
    Some(Origin { uri: Purl::of_image(&named, Some(platform)).to_string(), digest })
}

fn layout(store: &str, digest: &Digest, platform: &Platform) -> Origin {
    let qualifiers = vec![("digest", digest.to_string()), ("platform", platform.to_string())];
    let (namespace, version) = (String::new(), String::new());
    let purl = Purl { kind: "oci", namespace, name: store.to_owned(), version, qualifiers };
    Origin { uri: purl.to_string(), digest: set(digest) }
}

fn set(digest: &Digest) -> (&'static str, String) {
    (digest.algorithm().name(), digest.hex().to_owned())
}
