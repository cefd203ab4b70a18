//! Named contexts: what stands in for stages and images of the same name (`--build-context name=…`).

use std::collections::BTreeMap;

use kiln_graph::SourceOp;
use kiln_oci::{ImageConfig, Platform, Reference};

use super::{Base, BaseImage, SCRATCH};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// Files: a folder, a repository, a download.
    Files(SourceOp),
    /// An image with its configuration.
    Image(Reference),
    /// What another build made, with the configuration that its image would have.
    Built(SourceOp, Box<ImageConfig>),
    /// Nothing: the empty image.
    Scratch,
}

/// The contexts of a build besides its own, by name and, where one is for a platform alone, by that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedContexts(BTreeMap<(String, Option<Platform>), NamedContext>);

impl NamedContexts {
    /// Lets `name`, or `name::platform`, stand for `context`; false where it cannot be a name.
    pub fn insert(&mut self, name: &str, context: NamedContext) -> bool {
        let key = match name.split_once("::") {
            None => normal(name).map(|name| (name, None)),
            Some((name, platform)) => normal(name).zip(platform.parse().ok().map(Some)),
        };
        key.map(|key| self.0.insert(key, context)).is_some()
    }

    /// What `name`, the name of a stage or of an image, stands for; before what it is for every platform, what it is for
    /// this one.
    pub(crate) fn get(&self, name: &str, platform: &Platform) -> Option<&NamedContext> {
        if self.0.is_empty() {
            return None;
        }
        let name = normal(name)?;
        let own = self.0.get(&(name.clone(), Some(platform.clone())));
        own.or_else(|| self.0.get(&(name, None)))
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
            NamedContext::Built(source, config) => Base::Built(source.clone(), config.clone()),
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
        let amd64 = Platform::new("linux", "amd64", None);
        for name in ["alpine", "alpine:latest", "docker.io/library/alpine"] {
            assert!(contexts.get(name, &amd64).is_some(), "{name}");
        }
        for name in ["alpine:3", "other", "UPPER"] {
            assert!(contexts.get(name, &amd64).is_none(), "{name}");
        }
        for name in ["scratch", "Context", "UPPER", "", "a::", "a::b/c/d/e", "scratch::linux/amd64"] {
            assert!(!contexts.insert(name, NamedContext::Scratch), "{name}");
        }
    }

    #[test]
    fn a_context_of_one_platform_comes_before_that_of_all() {
        let image = |text: &str| NamedContext::Image(text.parse().unwrap());
        let mut contexts = NamedContexts::default();
        assert!(contexts.insert("base", image("all")));
        assert!(contexts.insert("base:latest::linux/aarch64", image("arm")));
        let get = |architecture| contexts.get("base", &Platform::new("linux", architecture, None));
        assert_eq!((get("arm64"), get("amd64")), (Some(&image("arm")), Some(&image("all"))));
    }
}
