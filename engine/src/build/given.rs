//! Files of contexts that whoever asked has: the Dockerfile, ignore files, named contexts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_builder::{ContextSource, SessionError, Wanted};
use kiln_graph::SourceOp;
use kiln_graph::url::redact;
use kiln_oci::Digest;
use kiln_parser::{NamedContext, NamedContexts};

use super::BuildRequest;
use super::contexts::{Contexts, open_folder};
use super::named::{LAYOUT, elsewhere};
use super::oci_layout;
use super::outside::Outside;
use super::reading::BuiltBase;
use super::source::{Found, IGNORE_FILES, borrowed, read, read_ignore, split};
use crate::{Engine, Error, ErrorKind, Result};

/// How local contexts of whoever asked are named.
const LOCAL: &str = "local:";
/// How what other builds made is.
const INPUT: &str = "input:";

/// The Dockerfile `path` of their context `context`.
pub(super) async fn dockerfile(outside: &Outside, context: &str, path: &Path) -> Result<Found> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let (folder, names) = split(path);
    let follow = names.iter().flat_map(|name| {
        let name = folder.join(name).display().to_string();
        let ignore = IGNORE_FILES.map(|suffix| format!("{name}{suffix}"));
        [name].into_iter().chain(ignore)
    });
    let root = fetch(outside, wanted(context, follow.collect(), "definition")).await?;
    read(&open_folder(&root)?, Path::new(""), folder, &borrowed(&names))
}

/// The lines of the ignore file in their context `context`.
pub(super) async fn ignore(outside: &Outside, context: &str) -> Result<Vec<String>> {
    let names = IGNORE_FILES.map(str::to_owned);
    let folder = fetch(outside, wanted(context, names.to_vec(), "ignore")).await?;
    Ok(read_ignore(&open_folder(&folder)?, Path::new(""), &names)?.unwrap_or_default())
}

fn wanted(context: &str, follow: Vec<String>, purpose: &'static str) -> Wanted {
    Wanted { name: context.to_owned(), follow, purpose, ..Wanted::default() }
}

async fn fetch(outside: &Outside, wanted: Wanted) -> Result<PathBuf> {
    ask(outside, move |contexts| contexts.files(&wanted)).await
}

/// Asks whoever has the contexts, on a thread that may wait.
async fn ask(
    outside: &Outside,
    question: impl FnOnce(&dyn ContextSource) -> std::result::Result<PathBuf, SessionError> + Send + 'static,
) -> Result<PathBuf> {
    let Some(contexts) = outside.contexts.clone() else {
        return Err(Error::invalid("no contexts were given"));
    };
    let asked = tokio::task::spawn_blocking(move || question(contexts.as_ref())).await;
    let asked = asked.map_err(|error| Error::internal("ask for a context", error))?;
    asked.map_err(|error| Error::new(ErrorKind::Unavailable, error.to_string()))
}

impl Engine {
    /// Understands the named contexts of a request from elsewhere, which never mean files of this machine.
    pub(super) async fn given_contexts(
        &self,
        request: &BuildRequest,
        contexts: &mut Contexts,
    ) -> Result<NamedContexts> {
        let mut all = NamedContexts::default();
        for (name, text) in &request.named_contexts {
            let wrong = |mut error: Error| {
                error.message = format!("build context `{name}={}`: {}", redact(text), error.message);
                error
            };
            let context = self.given_context(name, text, &request.outside, contexts).await.map_err(wrong)?;
            if !all.insert(name, context) {
                return Err(Error::invalid(format!("`{name}` cannot be the name of a build context")));
            }
        }
        Ok(all)
    }

    async fn given_context(
        &self,
        name: &str,
        text: &str,
        outside: &Outside,
        contexts: &mut Contexts,
    ) -> Result<NamedContext> {
        if let Some(context) = elsewhere(text)? {
            return Ok(context);
        }
        if let Some(there) = text.strip_prefix(LOCAL) {
            let exclude = ignore(outside, there).await?;
            contexts.names.insert(name.to_owned(), there.to_owned());
            let (name, include, follow) = (name.to_owned(), Vec::new(), Vec::new());
            return Ok(NamedContext::Files(SourceOp::Local { name, include, exclude, follow }));
        }
        if let Some((store, digest)) = text.strip_prefix(LAYOUT).and_then(|place| place.rsplit_once('@')) {
            let digest: Digest =
                digest.parse().map_err(|error| Error::invalid(format!("`{digest}`: {error}")))?;
            let (store, asked) = (store.to_owned(), digest.clone());
            let path = ask(outside, move |contexts| contexts.layout(&store, &asked)).await?;
            let (engine, image) = (self.clone(), digest.clone());
            let taking = move || engine.take_image(&oci_layout::open(&path)?, &image);
            let taken = tokio::task::spawn_blocking(taking).await;
            let lease = taken.map_err(|error| Error::internal("take an image", error))??;
            contexts.leases.push(Arc::new(lease));
            return oci_layout::reference(name, &digest).map(NamedContext::Image);
        }
        if let Some(key) = text.strip_prefix(INPUT) {
            let found = outside.inputs.get(key).cloned();
            let found = found.ok_or_else(|| Error::invalid("there is no such input"))?;
            return Ok(found.map_or(NamedContext::Scratch, |built| input(name, built, contexts)));
        }
        Err(Error::invalid(
            "it is none of `local:NAME`, a git or web URL, `docker-image://` and `oci-layout://`",
        ))
    }
}

/// What another build made, as a context that is there as layers.
fn input(name: &str, built: BuiltBase, contexts: &mut Contexts) -> NamedContext {
    let BuiltBase { layers, config } = built;
    contexts.layers.insert(name.to_owned(), layers);
    let (name, include, exclude, follow) = (name.to_owned(), Vec::new(), Vec::new(), Vec::new());
    NamedContext::Built(SourceOp::Local { name, include, exclude, follow }, Box::new(config))
}
