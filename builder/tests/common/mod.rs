//! Handles on a state root of a test's own.

use std::path::Path;
use std::sync::Arc;

use kiln_builder::{BareNetwork, Export, LocalMode, Stores};
use kiln_cache::{Store, StoreOptions};
use kiln_registry_client::{Client, ClientOptions};
use kiln_runtime::LinuxExecutor;
use tempfile::TempDir;

/// The handles on the state root `dir`, whose containers get cgroups beneath one that tests share.
pub(crate) fn stores(dir: &TempDir) -> Arc<Stores> {
    let store = Arc::new(Store::open(&dir.path().join("state"), &StoreOptions::default()).unwrap());
    Arc::new(Stores {
        store,
        client: Client::new(ClientOptions::default()),
        executor: Arc::new(LinuxExecutor),
        network: Arc::new(BareNetwork),
        cgroup_parent: "kiln/test-builder".to_owned(),
        cdi_dirs: vec![dir.path().join("cdi")],
    })
}

/// The files of the result in the directory `dest`.
#[allow(dead_code, reason = "not every test has files")]
pub(crate) fn local(dest: &Path) -> Export {
    Export::Local {
        dest: dest.to_owned(),
        split: None,
        mode: LocalMode::Copy,
        epoch: None,
        prefix: String::new(),
    }
}
