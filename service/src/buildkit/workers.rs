//! The one worker of this machine, as clients ask for it before they build.

use bollard_buildkit_proto::moby::buildkit::v1::types::{BuildkitVersion, GcPolicy, WorkerRecord};
use bollard_buildkit_proto::pb;
use kiln_engine::config::buildkitd as config;
use kiln_engine::oci::Platform;

use super::Options;

/// What the worker is called; there is one.
const ID: &str = "kiln";
/// The release of BuildKit whose API this is: clients ask for features by version too.
const API_VERSION: &str = "v0.29.0";
const PACKAGE: &str = "github.com/moby/buildkit";
const REVISION: &str = concat!("kiln-", env!("CARGO_PKG_VERSION"));

/// What `buildkitd --version` and `buildctl --version` print: clients take the third of four words.
pub fn version_line(program: &str) -> String {
    format!("{program} {PACKAGE} {API_VERSION} {REVISION}")
}

/// Who answers.
pub(super) fn version() -> BuildkitVersion {
    BuildkitVersion {
        package: PACKAGE.to_owned(),
        version: API_VERSION.to_owned(),
        revision: REVISION.to_owned(),
    }
}

/// The worker, with the labels of `options` beside those that every worker has.
pub(super) fn record(options: &Options) -> WorkerRecord {
    let Options { labels, platforms, gc, .. } = options;
    let own = [
        ("org.mobyproject.buildkit.worker.executor", "kiln"),
        ("org.mobyproject.buildkit.worker.network", "bridge"),
        ("org.mobyproject.buildkit.worker.oci.process-mode", "sandbox"),
        ("org.mobyproject.buildkit.worker.snapshotter", "overlayfs"),
    ];
    let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
    WorkerRecord {
        id: ID.to_owned(),
        labels: own.into_iter().chain(labels.clone()).collect(),
        platforms: match platforms.is_empty() {
            true => own_platforms().iter().map(platform).collect(),
            false => platforms.iter().map(platform).collect(),
        },
        gc_policy: gc.iter().map(rule).collect(),
        buildkit_version: Some(version()),
        cdi_devices: Vec::new(),
    }
}

/// A rule in the words of the protocol; bounds that are parts of the disk are not known here, and left out.
fn rule(rule: &config::GcPolicy) -> GcPolicy {
    let config::GcPolicy { all, filters, keep, space } = rule;
    let number = |number: u128| i64::try_from(number).unwrap_or(i64::MAX);
    let bytes = |space: Option<config::DiskSpace>| match space {
        Some(config::DiskSpace::Bytes(bytes)) => number(bytes.into()),
        _ => 0,
    };
    GcPolicy {
        all: *all,
        filters: filters.clone(),
        keep_duration: keep.map_or(0, |keep| number(keep.as_nanos())),
        reserved_space: bytes(space.reserved),
        max_used_space: bytes(space.max_used),
        min_free_space: bytes(space.min_free),
    }
}

/// What this machine runs: its own platform first, then what its processor runs as well.
fn own_platforms() -> Vec<Platform> {
    let host = Platform::host();
    let also = (host.architecture == "amd64").then(|| Platform::new("linux", "386", None));
    [host].into_iter().chain(also).collect()
}

/// A platform in the words of the protocol.
pub(super) fn platform(platform: &Platform) -> pb::Platform {
    pb::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone().unwrap_or_default(),
        os_version: platform.os_version.clone().unwrap_or_default(),
        os_features: Vec::new(),
    }
}

/// The same the other way; this machine's where nothing is said.
pub(super) fn platform_of(platform: Option<&pb::Platform>) -> Platform {
    match platform {
        Some(said) if !said.os.is_empty() && !said.architecture.is_empty() => {
            let variant = Some(said.variant.as_str()).filter(|variant| !variant.is_empty());
            let version = Some(said.os_version.clone()).filter(|version| !version.is_empty());
            Platform { os_version: version, ..Platform::new(&said.os, &said.architecture, variant) }
        }
        _ => Platform::host(),
    }
}
