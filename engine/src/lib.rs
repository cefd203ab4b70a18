//! The facade that both faces use: images, builds, containers, volumes and networks as plain data in and out.
#![forbid(unsafe_code)]

pub mod attach;
pub mod build;
pub mod config;
pub mod containers;
pub mod dockerfile;
mod durability;
pub mod errand;
pub mod error;
pub mod exec;
pub mod images;
pub mod info;
pub mod logs;
pub mod networks;
mod reset;
pub mod rootless;
pub mod supervisor;
pub mod usage;
pub mod volumes;

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use kiln_builder::{Builder, Stores};
use kiln_cache::{Resource, Store, StoreOptions};
use kiln_registry_client::{Client, ClientOptions, Limits, NoCredentials};

pub use config::Config;
pub use containers::new_id;
pub use error::{Error, ErrorKind, Result};
pub use kiln_builder::progress;
pub use kiln_graph::boolean;
pub use kiln_oci as oci;
pub use kiln_parser::csv;
pub use kiln_registry_client::auth::credentials::{CredentialsError, DockerConfig};
pub use kiln_registry_client::{Credential, Credentials};
pub use kiln_sys::fs::WholeFile;
pub use tokio_util::sync::CancellationToken;

/// Heaps of the allocator: a build has a dozen threads, few of which ask for memory at the same time.
const HEAPS: u16 = 2;

/// What a prune took away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Names or ids of what is gone.
    pub deleted: Vec<String>,
    /// Bytes freed.
    pub reclaimed: u64,
}

/// Where roots of others are, beneath a root.
const BENEATH: &str = "peers";

/// kiln itself: a state root and what can be done in it. Cheap to open and to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<Store>,
    credentials: Arc<dyn Credentials>,
    made: RwLock<Arc<Made>>,
}

/// The configuration, and what is made from it when it is first needed.
struct Made {
    config: Config,
    client: OnceLock<Client>,
    builder: OnceLock<Arc<Builder>>,
}

impl Made {
    fn new(config: Config) -> Made {
        Made { config, client: OnceLock::new(), builder: OnceLock::new() }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Inner").field("config", &made.config).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the state root that `config` names, and makes it where there is none. Asks registries without
    /// credentials.
    pub fn open(config: Config) -> Result<Engine> {
        Engine::open_with(config, Arc::new(NoCredentials))
    }

    /// The same with credentials for registries. What talks to registries is made when it is first needed.
    pub fn open_with(config: Config, credentials: Arc<dyn Credentials>) -> Result<Engine> {
        kiln_sys::memory::limit_heaps(HEAPS);
        let store = Arc::new(Store::open(&config.root, &store_options())?);
        Ok(Engine::with(store, credentials, Made::new(config)))
    }

    fn with(store: Arc<Store>, credentials: Arc<dyn Credentials>, made: Made) -> Engine {
        Engine { inner: Arc::new(Inner { store, credentials, made: RwLock::new(Arc::new(made)) }) }
    }

    /// The same engine for somebody who has other credentials: builds share what they have in common.
    pub fn with_credentials(&self, credentials: Arc<dyn Credentials>) -> Engine {
        let config = self.made().config.clone();
        let engine = Engine::with(Arc::clone(self.store()), credentials, Made::new(config));
        let builder = self.builder().with_client(engine.client());
        engine.made().builder.get_or_init(|| Arc::new(builder));
        engine
    }

    /// An engine that is told the same, on the root `name` beneath this one's: for somebody who must not see what is in this
    /// one, and whom its owner can see. Blocking.
    pub fn beneath(&self, name: &str) -> Result<Engine> {
        let root = self.store().root().join(BENEATH).join(name);
        let config = Config { root, ..self.config() };
        Engine::open_with(config, Arc::clone(&self.inner.credentials))
    }

    /// Reaches registries as it is said here from now on, for all clones of this engine. Requests that are under way end as they began.
    pub fn reconfigure(&self, registries: config::RegistryConfig) {
        let old = self.made();
        let made = Made::new(Config { registries, ..old.config.clone() });
        if let Some(builder) = old.builder.get() {
            let builder = builder.with_client(self.client_of(&made));
            made.builder.get_or_init(|| Arc::new(builder));
        }
        *self.inner.made.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(made);
    }

    /// What the engine was told at its start, and last of registries.
    pub fn config(&self) -> Config {
        self.made().config.clone()
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.inner.store
    }

    fn made(&self) -> Arc<Made> {
        Arc::clone(&self.inner.made.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn client(&self) -> Client {
        self.client_of(&self.made())
    }

    fn client_of(&self, made: &Made) -> Client {
        let client = made.client.get_or_init(|| {
            Client::new(ClientOptions {
                config: made.config.registries.clone(),
                credentials: Arc::clone(&self.inner.credentials),
                user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
                limits: Limits::default(),
            })
        });
        client.clone()
    }

    /// The images.
    pub fn images(&self) -> images::Images<'_> {
        images::Images { engine: self }
    }

    /// The containers.
    pub fn containers(&self) -> containers::Containers<'_> {
        containers::Containers { engine: self }
    }

    /// The volumes.
    pub fn volumes(&self) -> volumes::Volumes<'_> {
        volumes::Volumes { engine: self }
    }

    /// The networks.
    pub fn networks(&self) -> networks::Networks<'_> {
        networks::Networks { engine: self }
    }
}

impl Engine {
    /// The builder, one for all builds of this engine, so that they share what they have in common.
    pub(crate) fn builder(&self) -> Arc<Builder> {
        let made = self.made();
        let builder = made.builder.get_or_init(|| {
            Arc::new(Builder::new(Arc::new(Stores {
                store: Arc::clone(self.store()),
                client: self.client_of(&made),
                executor: Arc::new(kiln_runtime::LinuxExecutor),
                network: Arc::new(networks::StepNetwork::new(self.store(), made.config.dns.clone())),
                cgroup_parent: self.cgroup_parent(),
                host_proc: made.config.host_proc,
                cdi_dirs: made.config.cdi_spec_dirs(),
            })))
        });
        Arc::clone(builder)
    }

    /// What the builder works with.
    pub(crate) fn stores(&self) -> Arc<Stores> {
        Arc::clone(self.builder().stores())
    }

    /// The control group beneath which those of this root's containers and steps are: two roots never share one.
    pub(crate) fn cgroup_parent(&self) -> String {
        let tag = kiln_oci::Digest::of(self.store().root().as_os_str().as_encoded_bytes());
        format!("kiln/{}", tag.short())
    }

    /// Removes what nothing needs any more; bytes freed.
    pub(crate) fn free_garbage(&self) -> Result<u64> {
        Ok(self.store().collect()?.freed)
    }
}

/// The first descriptor that a service manager hands over (sd_listen_fds(3)).
const FIRST_INHERITED: i32 = 3;

/// Takes over the `count` sockets that a service manager opened before it started this program. Once, before anything else
/// opens files.
pub fn take_inherited(count: u32) -> Result<Vec<OwnedFd>> {
    kiln_sys::fd::take_inherited(FIRST_INHERITED, count)
        .map_err(|error| Error::internal("take the sockets that were handed over", error))
}

/// Whether something that was written to a unix socket has not been read at its other end; not so where nobody can tell.
pub fn is_unread(socket: &OwnedFd) -> bool {
    kiln_sys::fd::is_unread(socket).unwrap_or(false)
}

/// Gives back to the machine what the allocator keeps of memory that builds used; it may take milliseconds. Blocking.
pub fn trim_memory() {
    kiln_sys::memory::trim();
}

/// What the store cannot remove itself: the cgroups of processes that died.
fn store_options() -> StoreOptions {
    StoreOptions { cleanup: Arc::new(clean_up), ..StoreOptions::default() }
}

fn clean_up(resource: &Resource) -> std::io::Result<()> {
    match resource {
        Resource::Cgroup(path) => kiln_runtime::cgroup::cleanup(path.as_ref()).map_err(std::io::Error::other),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::BuildRequest;
    use crate::images::RebaseRequest;
    use crate::progress::{ProgressSink, Reporter};

    fn is_send<T: Send>(_: T) {}

    #[test]
    fn registries_that_are_said_anew_are_those_of_every_clone() {
        let root = tempfile::tempdir().unwrap();
        let engine = Engine::open(Config::new(root.path())).unwrap();
        let (clone, stores) = (engine.clone(), engine.stores());
        let mirrors = |engine: &Engine| engine.info().unwrap().mirrors;
        assert!(mirrors(&clone).is_empty());
        let table = config::HostConfig { mirrors: vec!["m.example".to_owned()], ..Default::default() };
        engine.reconfigure([("docker.io".to_owned(), table)].into());
        assert_eq!(mirrors(&clone), [("docker.io".to_owned(), vec!["m.example".to_owned()])]);
        assert!(!Arc::ptr_eq(&stores, &clone.stores()), "builds ask the new registries");
        let other = clone.with_credentials(Arc::new(NoCredentials));
        assert_eq!(mirrors(&other).len(), 1);
    }

    /// A service spawns these, so what they hold while they wait must be `Send`: that this compiles is the test.
    const _: fn(&Engine, &Arc<dyn ProgressSink>) = |engine, progress| {
        let (request, cancel) = (BuildRequest::default(), CancellationToken::new());
        is_send(engine.build_check(&request, progress));
        is_send(engine.build_outline(&request, progress));
        is_send(engine.build_targets(&request, progress));
        is_send(engine.debug_ast(&request));
        is_send(engine.debug_graph(&request, true));
        is_send(engine.debug_keys(&request));
        is_send(engine.build(BuildRequest::default(), progress.clone(), cancel.clone()));
        is_send(engine.verify(BuildRequest::default(), progress.clone(), cancel));
    };

    /// The same of images.
    const _: fn(images::Images<'_>, &Arc<dyn Reporter>, &Credential) = |images, reporter, credential| {
        is_send(images.pull("", None, reporter.as_ref()));
        is_send(images.complete("", None, reporter.as_ref()));
        is_send(images.push("", None, reporter));
        is_send(images.rebase(&RebaseRequest::default(), reporter.as_ref()));
        is_send(images.login("", credential));
    };
}
