//! Named contexts (`--build-context name=…`): what each of them is.

use std::path::{Path, PathBuf};

use kiln_graph::SourceOp;
use kiln_graph::url::redact;
use kiln_oci::Reference;
use kiln_parser::{NamedContext, NamedContexts, remote};

use super::contexts::{Contexts, DOWNLOADED, open_folder};
use super::source::{IGNORE_FILES, read_ignore};
use crate::{Engine, Error, Result};

/// How images are told from folders.
pub(super) const IMAGE: &str = "docker-image://";
pub(super) const LAYOUT: &str = "oci-layout://";

impl Engine {
    /// Understands `named`, pairs of a name and what it stands for; folders are added to `contexts`.
    pub(super) fn named_contexts(
        &self,
        named: &[(String, String)],
        contexts: &mut Contexts,
    ) -> Result<NamedContexts> {
        let mut all = NamedContexts::default();
        for (name, text) in named {
            let wrong = |mut error: Error| {
                error.message = format!("build context `{name}={}`: {}", redact(text), error.message);
                error
            };
            let context = self.named_context(name, text, contexts).map_err(wrong)?;
            if !all.insert(name, context) {
                let message = format!("`{name}` cannot be the name of a build context");
                return Err(Error::invalid(message)
                    .with_hint("it is that of a stage or an image, in lower case, and perhaps `::OS/ARCH`"));
            }
        }
        Ok(all)
    }

    fn named_context(&self, name: &str, text: &str, contexts: &mut Contexts) -> Result<NamedContext> {
        if let Some(context) = elsewhere(text)? {
            return Ok(context);
        }
        if let Some(layout) = text.strip_prefix(LAYOUT) {
            return self.import_layout(name, layout, contexts).map(NamedContext::Image);
        }
        match text.split_once("://") {
            Some((scheme, _)) if !Path::new(text).exists() => {
                Err(Error::invalid(format!("the scheme `{scheme}` is not known"))
                    .with_hint("a folder, a git or web URL, `docker-image://` or `oci-layout://`"))
            }
            _ => folder(name, Path::new(text), contexts),
        }
    }
}

/// A context that is at a registry, in a repository or at a web server.
pub(super) fn elsewhere(text: &str) -> Result<Option<NamedContext>> {
    if let Some(image) = text.strip_prefix(IMAGE) {
        return match image {
            "scratch" => Ok(Some(NamedContext::Scratch)),
            image => Ok(Some(NamedContext::Image(image.parse::<Reference>()?))),
        };
    }
    if remote::is_git(text) {
        return Ok(Some(NamedContext::Files(remote::git(text).map_err(Error::invalid)?)));
    }
    Ok(remote::is_http(text).then(|| NamedContext::Files(remote::http(text, DOWNLOADED))))
}

/// A folder has an ignore file of its own.
fn folder(name: &str, path: &Path, contexts: &mut Contexts) -> Result<NamedContext> {
    let root = open_folder(path)?;
    let exclude = read_ignore(&root, path, &IGNORE_FILES.map(str::to_owned))?.unwrap_or_default();
    let path: PathBuf = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    // The main context is called `context`, which no named one can be.
    contexts.folders.insert(name.to_owned(), path);
    Ok(NamedContext::Files(SourceOp::Local {
        name: name.to_owned(),
        include: Vec::new(),
        exclude,
        follow: Vec::new(),
    }))
}
