//! What every command needs: the configuration and, on demand, the engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_engine::{Config, Engine, Result};

use crate::args::Global;
use crate::credentials;

const DEFAULT_ROOT: &str = "/var/lib/kiln";
const DEFAULT_CONFIG: &str = "/etc/kiln/kiln.toml";

/// The global options, and what follows from them and from the environment.
#[derive(Clone, Debug)]
pub(crate) struct App {
    global: Global,
}

impl App {
    pub(crate) fn new(global: Global) -> Self {
        App { global }
    }

    /// Whether everything is to be told.
    pub(crate) fn debug(&self) -> bool {
        self.global.debug
    }

    /// The state root that was asked for by option.
    pub(crate) fn asked_root(&self) -> Option<PathBuf> {
        self.global.root.clone()
    }

    /// The configuration file that was asked for by option.
    pub(crate) fn asked_config(&self) -> Option<PathBuf> {
        self.global.config.clone()
    }

    /// Whether a trace is written to standard error.
    pub(crate) fn traces(&self) -> bool {
        self.global.debug || std::env::var_os("KILN_LOG").is_some()
    }

    /// The configuration: options before the environment, the environment before the file.
    pub(crate) fn config(&self) -> Result<Config> {
        let root = self.global.root.clone().or_else(|| path_variable("KILN_ROOT"));
        let mut config = Config::new(root.unwrap_or_default());
        if let Some(file) = self.config_file() {
            config.merge_file(&file)?;
        }
        if config.root.as_os_str().is_empty() {
            config.root = PathBuf::from(DEFAULT_ROOT);
        }
        Ok(config)
    }

    /// The configuration file: one that is asked for must be there, the usual one need not.
    pub(crate) fn config_file(&self) -> Option<PathBuf> {
        let asked = self.global.config.clone().or_else(|| path_variable("KILN_CONFIG"));
        asked.or_else(|| Path::new(DEFAULT_CONFIG).exists().then(|| PathBuf::from(DEFAULT_CONFIG)))
    }

    /// The engine on the configured state root.
    pub(crate) fn engine(&self) -> Result<Engine> {
        Engine::open_with(self.config()?, Arc::new(credentials::docker_config()))
    }
}

pub(crate) fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Runs something that waits on others, such as registries. Only commands that need it pay for it.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("kiln")
        .build()
        .map_err(|error| kiln_engine::Error::internal("start threads", error))?;
    let result = runtime.block_on(work);
    // What a cancelled build still does in the background is over with the process.
    runtime.shutdown_background();
    result
}
