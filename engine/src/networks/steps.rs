//! The network of build steps: places on the bridge and files, each used by one step after the other.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_builder::{NetworkError, Sandbox, SandboxNetwork, SandboxRequest};
use kiln_cache::{Lease, Store};
use kiln_graph::Network;
use kiln_runtime::{EtcFiles, NetworkSetup};

use super::etc::{Facts, Texts};
use super::{Joined, join};
use crate::config::Dns;
use crate::rootless::is_confined;
use crate::{Error, Result};

/// The beginning of the names of the directories of steps, beside those of containers.
const PREFIX: &str = "step-";
/// What is kept for later steps of each kind; more is given back when its step ends.
const MOST_IDLE: usize = 8;

/// Gives build steps a place on the bridge.
///
/// Making a place costs a few milliseconds, and taking one down keeps the kernel's network lock for longer than a short
/// step runs. So a step leaves its place to the next one: with its processes dead there is nothing of it in there,
/// because a confined step cannot change the interfaces, addresses, rules or settings of its namespace.
pub(crate) struct StepNetwork {
    store: Arc<Store>,
    places: Idle<Place>,
    /// For steps without a place.
    files: Idle<StepFiles>,
    dns: Dns,
}

/// What steps left for the next ones.
type Idle<T> = Arc<Mutex<Vec<T>>>;

/// A place on the bridge with the lease of its address, and the files that say so.
struct Place {
    joined: Joined,
    files: StepFiles,
    _lease: Lease,
}

impl StepNetwork {
    /// The network of builds in this store. Removes what those of dead processes left.
    pub(crate) fn new(store: &Arc<Store>, dns: Dns) -> StepNetwork {
        remove_stale(&store.root().join("containers"));
        let (places, files) = Default::default();
        StepNetwork { store: Arc::clone(store), places, files, dns }
    }

    fn sandbox(&self, request: &SandboxRequest<'_>) -> Result<Sandbox> {
        match request.network {
            // Nobody but root of the machine makes bridges.
            Network::Sandbox if is_confined() => self.without_place(request, NetworkSetup::Host),
            Network::Sandbox => self.on_the_bridge(request),
            Network::Host => self.without_place(request, NetworkSetup::Host),
            Network::None => self.without_place(request, NetworkSetup::None),
        }
    }

    fn on_the_bridge(&self, request: &SandboxRequest<'_>) -> Result<Sandbox> {
        let mut place = match self.idle_place() {
            Some(place) => place,
            None => self.make_place()?,
        };
        let etc = place.files.write(request, Some(&place.joined), &self.dns)?;
        let network = NetworkSetup::Namespace(place.joined.ns.clone());
        Ok(Sandbox { network, etc, guard: Borrowed::guard(request, place, &self.places) })
    }

    fn without_place(&self, request: &SandboxRequest<'_>, network: NetworkSetup) -> Result<Sandbox> {
        let idle = lock(&self.files).pop();
        let mut files = idle.map_or_else(|| StepFiles::create(self.store.root()), Ok)?;
        let etc = files.write(request, None, &self.dns)?;
        Ok(Sandbox { network, etc, guard: Borrowed::guard(request, files, &self.files) })
    }

    /// A place that an earlier step left, if the bridge still has it.
    fn idle_place(&self) -> Option<Place> {
        loop {
            let place = lock(&self.places).pop()?;
            if place.joined.is_connected() {
                return Some(place);
            }
        }
    }

    fn make_place(&self) -> Result<Place> {
        let files = StepFiles::create(self.store.root())?;
        let lease = self.store.leases.create()?;
        Ok(Place { joined: join(&self.store, &lease)?, files, _lease: lease })
    }
}

impl SandboxNetwork for StepNetwork {
    fn acquire(&self, request: &SandboxRequest<'_>) -> std::result::Result<Sandbox, NetworkError> {
        self.sandbox(request)
            .map_err(|error| NetworkError { message: error.chain(), hint: error.hint.clone() })
    }
}

impl fmt::Debug for StepNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepNetwork").finish_non_exhaustive()
    }
}

/// Something in use; dropping it leaves it to the next step.
struct Borrowed<T> {
    thing: Option<T>,
    idle: Idle<T>,
}

impl<T: Send + Sync + 'static> Borrowed<T> {
    /// What a step holds of `thing`. One that is not confined may have changed it, and nobody has it after that.
    fn guard(request: &SandboxRequest<'_>, thing: T, idle: &Idle<T>) -> Box<dyn std::any::Any + Send + Sync> {
        match request.is_confined {
            true => Box::new(Borrowed { thing: Some(thing), idle: Arc::clone(idle) }),
            false => Box::new(thing),
        }
    }
}

impl<T> Drop for Borrowed<T> {
    fn drop(&mut self) {
        let mut idle = lock(&self.idle);
        if idle.len() < MOST_IDLE {
            idle.extend(self.thing.take());
        }
    }
}

fn lock<T>(idle: &Mutex<Vec<T>>) -> std::sync::MutexGuard<'_, Vec<T>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A step's files for `/etc` in a directory of their own, removed with this value.
struct StepFiles {
    root: PathBuf,
    directory: PathBuf,
    written: Option<(Texts, EtcFiles)>,
}

impl StepFiles {
    fn create(root: &Path) -> Result<StepFiles> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = root.join("containers").join(name);
        std::fs::create_dir_all(&directory)
            .map_err(|error| Error::internal(format!("create `{}`", directory.display()), error))?;
        Ok(StepFiles { root: root.to_owned(), directory, written: None })
    }

    /// The files for this step, which are often those of the step before: no step can write to them.
    fn write(
        &mut self,
        request: &SandboxRequest<'_>,
        joined: Option<&Joined>,
        dns: &Dns,
    ) -> Result<EtcFiles> {
        let extra: Vec<_> =
            request.extra_hosts.iter().map(|host| (host.name.clone(), host.address.to_string())).collect();
        let texts = Texts::of(&Facts {
            hostname: request.hostname,
            addresses: joined.map(|joined| (joined.address, joined.gateway)),
            is_host: joined.is_none() && request.network != Network::None,
            extra_hosts: &extra,
            dns: Some(dns),
        });
        if let Some((written, etc)) = &self.written
            && *written == texts
        {
            return Ok(etc.clone());
        }
        let etc = EtcFiles { readonly: true, ..texts.write(&self.root, &self.directory)? };
        self.written = Some((texts, etc.clone()));
        Ok(etc)
    }
}

impl Drop for StepFiles {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
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
