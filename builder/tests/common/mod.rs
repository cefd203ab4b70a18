//! Handles on a state root of a test's own, and what tests build.

use std::path::Path;
use std::sync::Arc;

use kiln_builder::attest::Attest;
use kiln_builder::{BareNetwork, BuildJob, Entitlements, Export, LocalMode, Session, Silent, Stores, Target};
use kiln_cache::{Store, StoreOptions};
use kiln_graph::{Definition, Edge};
use kiln_oci::{ImageConfig, Platform};
use kiln_registry_client::{Client, ClientOptions};
use kiln_runtime::LinuxExecutor;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The handles on the state root `dir`, whose containers get cgroups beneath one that tests share.
pub(crate) fn stores(dir: &TempDir) -> Arc<Stores> {
    let store = Arc::new(Store::open(&dir.path().join("state"), &StoreOptions::default()).unwrap());
    Arc::new(Stores {
        host_proc: false,
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

/// A build of `root` that is offered nothing.
#[allow(dead_code, reason = "not every test has such a build")]
pub(crate) fn job(definition: Definition, root: Option<Edge>, exports: Vec<Export>) -> BuildJob {
    let platform = Platform::new("linux", "amd64", None);
    let config = ImageConfig::empty(platform.clone());
    BuildJob {
        definition: Arc::new(definition),
        targets: vec![Target { platform, root, config, base_layers: 0 }],
        multi_platform: false,
        exports,
        others: Vec::new(),
        attest: Attest::default(),
        session: Session::empty(),
        allow: Entitlements::default(),
        progress: Arc::new(Silent),
        jobs: 2,
        no_cache: false,
        explain: false,
        epoch: None,
        cancel: CancellationToken::new(),
    }
}
