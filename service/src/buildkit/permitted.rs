//! Which frontends clients may ask for, as the daemon's configuration says.

use std::collections::HashMap;

use kiln_engine::config::buildkitd::Frontends;
use kiln_engine::oci::Reference;
use kiln_engine::{Error, ErrorKind, Result};

/// Refuses a frontend that the daemon does not let anybody use.
pub(super) fn check(
    permitted: &Frontends,
    frontend: &str,
    attributes: &HashMap<String, String>,
) -> Result<()> {
    let is_on = match frontend {
        "dockerfile.v0" => permitted.dockerfile,
        "gateway.v0" => permitted.gateway,
        _ => None,
    };
    if is_on == Some(false) {
        return Err(forbidden(format!(
            "the frontend `{frontend}` is switched off in the daemon's configuration"
        )));
    }
    if frontend != "gateway.v0" || permitted.repositories.is_empty() {
        return Ok(());
    }
    let source = attributes.get("source").map(String::as_str).unwrap_or_default();
    let repository = repository(source);
    match permitted.repositories.iter().any(|one| self::repository(one) == repository && repository.is_some())
    {
        true => Ok(()),
        false => {
            Err(forbidden(format!("the frontend `{source}` is not from a repository that the daemon allows")))
        }
    }
}

/// Registry and name, without tag and digest.
fn repository(text: &str) -> Option<(String, String)> {
    let reference: Reference = text.parse().ok()?;
    Some((reference.registry().to_owned(), reference.repository().to_owned()))
}

fn forbidden(message: String) -> Error {
    Error::new(ErrorKind::Forbidden, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frontends_are_those_that_the_configuration_lets_through() {
        let of = |source: &str| HashMap::from([("source".to_owned(), source.to_owned())]);
        let open = Frontends::default();
        assert!(check(&open, "gateway.v0", &of("a/b")).is_ok());
        let listed = Frontends { repositories: vec!["docker/dockerfile".to_owned()], ..Frontends::default() };
        for taken in ["docker/dockerfile:1.7", "docker.io/docker/dockerfile"] {
            assert!(check(&listed, "gateway.v0", &of(taken)).is_ok(), "{taken}");
        }
        for other in [
            "docker/dockerfile@sha256:",
            "docker/dockerfile-upstream",
            "x.example/docker/dockerfile",
            "",
            "docker/Dockerfile",
        ] {
            assert!(check(&listed, "gateway.v0", &of(other)).is_err(), "{other}");
        }
        assert!(check(&listed, "dockerfile.v0", &HashMap::new()).is_ok());
        let off = Frontends { dockerfile: Some(false), gateway: Some(false), ..Frontends::default() };
        for frontend in ["dockerfile.v0", "gateway.v0"] {
            let error = check(&off, frontend, &of("docker/dockerfile")).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Forbidden);
        }
    }
}
