//! Which frontend a Dockerfile asks for (`# syntax=IMAGE`): the language of the file, in the words of BuildKit.

use super::source::Source;
use super::{BuildRequest, Prepared};
use crate::progress::ProgressSink;
use crate::{Engine, Error, Result};
use kiln_parser::Dockerfile;
use std::sync::Arc;

/// Images whose language is the one that is built in, wherever they are.
const OWN: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];
/// The build argument that says it instead of the file.
const ARGUMENT: &str = "BUILDKIT_SYNTAX";

/// Whether the frontend `image` is the one that is built in: by its name, at whatever registry.
pub fn is_built_in(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or_default();
    // A colon before the last slash is that of a port.
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    OWN.iter().any(|own| name.strip_suffix(own).is_some_and(|host| host.is_empty() || host.ends_with('/')))
}

/// The frontend that is asked for, with what else is said to it, where it is not the one that is built in.
fn foreign(dockerfile: &Dockerfile, request: &BuildRequest) -> Option<String> {
    if request.syntax_is_chosen {
        return None;
    }
    let said = request.build_args.get(ARGUMENT).or(dockerfile.directives.syntax.as_ref())?.trim();
    let image = said.split(' ').next().unwrap_or_default();
    (!image.is_empty() && !is_built_in(image)).then(|| said.to_owned())
}

/// Refuses a file in another language.
pub(super) fn check(dockerfile: &Dockerfile, request: &BuildRequest) -> Result<()> {
    match foreign(dockerfile, request) {
        None => Ok(()),
        Some(said) => Err(Error::not_implemented(format!("the frontend `{said}` (`# syntax=`)")).with_hint(
            "`kiln serve` runs frontends for clients of BuildKit; a Dockerfile for kiln itself names none",
        )),
    }
}

impl Engine {
    /// Opens the context of a build and reads its Dockerfile.
    pub async fn read_source(
        &self,
        request: &BuildRequest,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<Source> {
        self.source(request, progress).await
    }

    /// [`Engine::prepare`] of what was read before.
    pub async fn prepare_source(
        &self,
        request: &BuildRequest,
        source: &Source,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<Prepared> {
        self.prepare_of(request, source, progress).await
    }
}

impl Source {
    /// The frontend that the file asks for, with what else is said to it, where it is not the one that is built in.
    pub fn frontend(&self, request: &BuildRequest) -> Option<String> {
        foreign(&kiln_parser::parse(&self.file).0, request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_parser::{SourceFile, parse};

    #[test]
    fn dockers_own_frontends_are_built_in_wherever_they_are() {
        for own in
            ["docker/dockerfile", "docker/dockerfile:1", "docker.io/docker/dockerfile-upstream:master-labs"]
        {
            assert!(is_built_in(own), "{own}");
        }
        let mirrored = format!("mirror:5000/cache/docker/dockerfile:1@sha256:{}", "0".repeat(64));
        assert!(is_built_in(&mirrored));
        for other in
            ["", "dockerfile", "my-docker/dockerfile", "docker/dockerfile-x", "docker:5000/dockerfile"]
        {
            assert!(!is_built_in(other), "{other}");
        }
    }

    #[test]
    fn another_language_is_refused_by_name() {
        let refused = |text: &str, request: &BuildRequest| {
            let file = parse(&SourceFile::new("Dockerfile", text)).0;
            check(&file, request).err().map(|error| error.message)
        };
        let mut request = BuildRequest::default();
        assert_eq!(refused("# syntax=docker/dockerfile:1\nFROM a\n", &request), None);
        let said = refused("# syntax=r.io/mine:2 x\nanything: [1]\n", &request).unwrap();
        assert!(said.contains("`r.io/mine:2 x`"), "{said}");
        request.build_args.insert(ARGUMENT.to_owned(), "docker/dockerfile:1".to_owned());
        assert_eq!(refused("# syntax=r.io/mine:2\nFROM a\n", &request), None);
        request.build_args.insert(ARGUMENT.to_owned(), "r.io/mine".to_owned());
        assert!(refused("FROM a\n", &request).is_some());
        request.syntax_is_chosen = true;
        assert_eq!(refused("FROM a\n", &request), None);
    }
}
