//! Named contexts: what stands in for stages and images of the same name (`--build-context name=…`).

use std::collections::BTreeMap;

use kiln_graph::SourceOp;
use kiln_oci::{Platform, Reference};

use super::{Base, BaseImage, SCRATCH};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// Files: a folder, a repository, a download.
    Files(SourceOp),
    /// An image with its configuration.
    Image(Reference),
    /// Nothing: the empty image.
    Scratch,
}

/// The contexts of a build besides its own, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedContexts(BTreeMap<String, NamedContext>);

impl NamedContexts {
    /// Lets `name` stand for `context`; false where it cannot be a name.
    pub fn insert(&mut self, name: &str, context: NamedContext) -> bool {
        let name = normal(name);
        name.map(|name| self.0.insert(name, context)).is_some()
    }

    /// What `name`, the name of a stage or of an image, stands for.
    pub(crate) fn get(&self, name: &str) -> Option<&NamedContext> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&normal(name)?)
    }
}

/// The name as an image's in short form, without the default tag; none for what no context can stand in for.
fn normal(name: &str) -> Option<String> {
    if [SCRATCH, "context"].iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        return None;
    }
    let familiar = name.parse::<Reference>().ok()?.familiar();
    Some(familiar.strip_suffix(":latest").map_or(familiar.clone(), str::to_owned))
}

impl NamedContext {
    /// The context as what a stage begins with.
    pub(super) fn base(&self, platform: &Platform) -> Base {
        match self {
            NamedContext::Files(source) => Base::Files(source.clone()),
            NamedContext::Image(reference) => Base::Image(image(reference, platform)),
            NamedContext::Scratch => Base::Scratch,
        }
    }
}

/// An image that stands for another.
pub(crate) fn image(reference: &Reference, platform: &Platform) -> BaseImage {
    BaseImage { reference: reference.clone().with_default_tag(), platform: platform.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_images_in_any_form() {
        let mut contexts = NamedContexts::default();
        assert!(contexts.insert("docker.io/library/alpine:latest", NamedContext::Scratch));
        for name in ["alpine", "alpine:latest", "docker.io/library/alpine"] {
            assert!(contexts.get(name).is_some(), "{name}");
        }
        for name in ["alpine:3", "other", "UPPER"] {
            assert!(contexts.get(name).is_none(), "{name}");
        }
        for name in ["scratch", "Context", "UPPER", ""] {
            assert!(!contexts.insert(name, NamedContext::Scratch), "{name}");
        }
    }
}
