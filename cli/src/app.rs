//! What every command needs: the configuration and, on demand, the engine.

use std::path::PathBuf;
use std::sync::Arc;

use kiln_engine::{Config, Engine, Result, rootless};

use crate::args::Global;
use crate::credentials;

const DEFAULT_ROOT: &str = "/var/lib/kiln";
const DEFAULT_CONFIG: &str = "/etc/kiln/kiln.toml";
const DATA: &str = "XDG_DATA_HOME";
const CONFIG: &str = "XDG_CONFIG_HOME";
const RUNTIME: &str = "XDG_RUNTIME_DIR";

/// The global options, and what follows from them and from the environment.
#[derive(Clone, Debug)]
pub(crate) struct App {
    global: Global,
    /// Where somebody who is not root has what root has in `/var/lib` and `/run`.
    own: Option<Places>,
}

/// A user's places (XDG Base Directory Specification).
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// `$XDG_DATA_HOME`, for the state.
    pub(crate) data: PathBuf,
    /// `$XDG_CONFIG_HOME`.
    pub(crate) config: PathBuf,
    /// `$XDG_RUNTIME_DIR`, for sockets.
    pub(crate) runtime: PathBuf,
}

impl Places {
    /// Those that the environment says.
    fn of_environment() -> Places {
        let home = path_variable("HOME").unwrap_or_else(|| PathBuf::from("/"));
        let data = path_variable(DATA).unwrap_or_else(|| home.join(".local/share"));
        let config = path_variable(CONFIG).unwrap_or_else(|| home.join(".config"));
        Places { runtime: path_variable(RUNTIME).unwrap_or_else(|| data.join("kiln")), data, config }
    }
}

impl App {
    /// `is_rootless`: whether this process had to become root of a user namespace first. In one that somebody else made, a
    /// runtime folder tells that it is a user's and not a machine's.
    pub(crate) fn new(global: Global, is_rootless: bool) -> Self {
        let is_own = is_rootless || rootless::is_confined() && path_variable(RUNTIME).is_some();
        App { global, own: is_own.then(Places::of_environment) }
    }

    /// The places of a user who is not root.
    pub(crate) fn own(&self) -> Option<&Places> {
        self.own.as_ref()
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
            config.root = self.own.as_ref().map_or(PathBuf::from(DEFAULT_ROOT), |own| own.data.join("kiln"));
        }
        Ok(config)
    }

    /// The configuration file: one that is asked for must be there, the usual one need not.
    pub(crate) fn config_file(&self) -> Option<PathBuf> {
        let asked = self.global.config.clone().or_else(|| path_variable("KILN_CONFIG"));
        let own = self.own.as_ref().map(|own| own.config.join("kiln/kiln.toml"));
        asked.or_else(|| own.into_iter().chain([PathBuf::from(DEFAULT_CONFIG)]).find(|file| file.exists()))
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
