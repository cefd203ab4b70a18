//! Where Docker's `config.json` is.

use std::path::PathBuf;

use kiln_engine::DockerConfig;

/// The credentials that `docker login` and `kiln login` share.
pub(crate) fn docker_config() -> DockerConfig {
    DockerConfig::at(folder().join("config.json"))
}

fn folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("DOCKER_CONFIG")
        .unwrap_or_else(|| variable("HOME").unwrap_or_else(|| "/root".into()).join(".docker"))
}
