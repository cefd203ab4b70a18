//! The network of build steps: one that is ready before it is asked for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use kiln_builder::{NetworkError, Sandbox, SandboxNetwork, SandboxRequest};
use kiln_cache::{Lease, Store};
use kiln_graph::Network;
use kiln_runtime::NetworkSetup;

use super::etc::{self, Facts};
use super::{Joined, join};
use crate::{Error, Result};

/// The beginning of the names of the directories of steps, beside those of containers.
const PREFIX: &str = "step-";

/// Gives build steps a place on the bridge. While one step runs, the next one's is made ready.
pub(crate) struct StepNetwork {
    store: Arc<Store>,
    next: Mutex<Option<JoinHandle<Result<Place>>>>,
}

/// A place on the bridge with the lease of its address.
struct Place {
    joined: Joined,
    _lease: Lease,
}

impl StepNetwork {
    /// The network of builds in this store. Removes what those of dead processes left.
    pub(crate) fn new(store: &Arc<Store>) -> StepNetwork {
        remove_stale(&store.root().join("containers"));
        StepNetwork { store: Arc::clone(store), next: Mutex::default() }
    }

    fn place(&self) -> Result<Place> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = next.take();
        let store = Arc::clone(&self.store);
        *next = std::thread::Builder::new()
            .name("kiln-network".to_owned())
            .spawn(move || make_place(&store))
            .ok();
        drop(next);
        match ready.map(JoinHandle::join) {
            Some(Ok(Ok(place))) => Ok(place),
            _ => make_place(&self.store),
        }
    }

    fn sandbox(&self, request: &SandboxRequest<'_>) -> Result<Sandbox> {
        let place = match request.network {
            Network::Sandbox => Some(self.place()?),
            Network::Host | Network::None => None,
        };
        let extra: Vec<_> =
            request.extra_hosts.iter().map(|host| (host.name.clone(), host.address.to_string())).collect();
        let facts = Facts {
            hostname: request.hostname,
            addresses: place.as_ref().map(|place| (place.joined.address, place.joined.gateway)),
            is_host: request.network == Network::Host,
            extra_hosts: &extra,
        };
        let directory = StepDirectory::create(self.store.root())?;
        let mut etc = etc::write(&directory.0, &facts)?;
        etc.readonly = true;
        let network = match (&place, request.network) {
            (Some(place), _) => NetworkSetup::Namespace(place.joined.ns.clone()),
            (None, Network::Host) => NetworkSetup::Host,
            (None, _) => NetworkSetup::None,
        };
        Ok(Sandbox { network, etc, guard: Box::new((place, directory)) })
    }
}

impl SandboxNetwork for StepNetwork {
    fn acquire(&self, request: &SandboxRequest<'_>) -> std::result::Result<Sandbox, NetworkError> {
        self.sandbox(request)
            .map_err(|error| NetworkError { message: error.chain(), hint: error.hint.clone() })
    }
}

/// The place that nobody asked for any more is given back before the engine goes.
impl Drop for StepNetwork {
    fn drop(&mut self) {
        if let Some(thread) = self.next.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for StepNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepNetwork").finish_non_exhaustive()
    }
}

fn make_place(store: &Store) -> Result<Place> {
    let lease = store.leases.create()?;
    Ok(Place { joined: join(store, &lease)?, _lease: lease })
}

/// The directory of a step's files in `/etc`, removed with this value.
struct StepDirectory(PathBuf);

impl StepDirectory {
    fn create(root: &Path) -> Result<StepDirectory> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = root.join("containers").join(name);
        std::fs::create_dir_all(&path)
            .map_err(|error| Error::internal(format!("create `{}`", path.display()), error))?;
        Ok(StepDirectory(path))
    }
}

impl Drop for StepDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Removes the directories of steps whose process is gone.
fn remove_stale(containers: &Path) {
    for entry in std::fs::read_dir(containers).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
