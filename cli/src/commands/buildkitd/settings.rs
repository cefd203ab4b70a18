//! BuildKit's options and its configuration file as what the daemon is told.

use std::path::PathBuf;
use std::time::Duration;

use kiln_engine::config::buildkitd::{Buildkitd, DiskSpace, GcPolicy, GcSpace, TlsPaths, Worker};
use kiln_engine::oci::Platform;
use kiln_engine::rootless::is_confined;
use kiln_engine::{Error, ErrorKind, Result};
use kiln_service::buildkit;
use kiln_service::server::{Address, Owner, ServeOptions, TlsFiles};

use crate::args::buildkitd::{BuildkitdArgs, Ignored};
use crate::commands::build::fetching;
use crate::commands::serve;
use crate::values::{group, time, wrong};

const KEEP_STORAGE: &str = "--oci-worker-gc-keepstorage";
/// What goes first where nobody says how large the cache may be, and what the whole may take.
const USUAL_KEEP: Duration = Duration::from_secs(60 * 24 * 3600);
const USUAL_SPACE: GcSpace = GcSpace {
    reserved: Some(DiskSpace::Percent(10)),
    max_used: Some(DiskSpace::Percent(80)),
    min_free: Some(DiskSpace::Percent(20)),
};
/// Why somebody who wants no root gets no daemon.
const ROOT: &str = "this is root of the machine; start it as another user";
const LEVEL_VARIABLE: &str = "BUILDKITD_LOG_LEVEL";
const DEBUG_VARIABLE: &str = "BUILDKITD_DEBUGADDR";

/// Puts what is said by option in the place of what the file says.
pub(super) fn apply(args: &BuildkitdArgs, debug: bool, found: &mut Buildkitd) -> Result<()> {
    refuse(args)?;
    let variable = |name| std::env::var(name).ok().filter(|text: &String| !text.is_empty());
    let asked = args.log_level.clone().or(args.trace.then(|| "trace".to_owned()));
    let asked = asked.or(debug.then(|| "debug".to_owned())).or_else(|| variable(LEVEL_VARIABLE));
    replace(
        &mut found.log_level,
        asked.map(|level| if level == "warning" { "warn".to_owned() } else { level }),
    );
    replace(&mut found.log_format, args.log_format.clone());
    check("--log-level", found.log_level.as_deref(), &["error", "warn", "info", "debug", "trace"])?;
    check("--log-format", found.log_format.as_deref(), &["text", "json"])?;
    replace(&mut found.debug_address, args.debugaddr.clone().or_else(|| variable(DEBUG_VARIABLE)));
    replace(&mut found.tls.ca, args.tlscacert.clone());
    replace(&mut found.tls.cert, args.tlscert.clone());
    replace(&mut found.tls.key, args.tlskey.clone());
    if let Some(text) = &args.group {
        found.gid = Some(group::number("--group", text)?);
    }
    if !args.entitlements.is_empty() {
        found.entitlements.clone_from(&args.entitlements);
    }
    for name in &args.entitlements {
        check("--allow-insecure-entitlement", Some(name), &["network.host", "security.insecure", "device"])?;
    }
    found.host_proc = is_confined() && args.no_process_sandbox.unwrap_or(found.host_proc);
    found.cdi_disabled = args.cdi_disabled.unwrap_or(found.cdi_disabled);
    if !args.cdi_spec_dirs.is_empty() {
        found.cdi_spec_dirs.clone_from(&args.cdi_spec_dirs);
    }
    for label in &args.labels {
        match label.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                found.worker.labels.insert(key.to_owned(), value.to_owned());
            }
            _ => return wrong("--oci-worker-labels", label, "a label is `KEY=VALUE`"),
        }
    }
    if !args.platforms.is_empty() {
        found.worker.platforms.clone_from(&args.platforms);
    }
    replace(&mut found.worker.gc, args.gc);
    if let Some(text) = &args.keep_storage {
        (found.worker.space, found.worker.policies) = (keep_storage(text)?, Vec::new());
    }
    replace(&mut found.worker.max_parallelism, args.max_parallelism.filter(|number| *number > 0));
    Ok(())
}

fn replace<T>(what: &mut Option<T>, by: Option<T>) {
    if by.is_some() {
        *what = by;
    }
}

/// `reserved[,free[,maximum]]` in millions of bytes.
fn keep_storage(text: &str) -> Result<GcSpace> {
    let mut bounds = [None; 3];
    let mut parts = text.split(',');
    for (bound, part) in bounds.iter_mut().zip(&mut parts) {
        match part.parse::<u64>().ok().and_then(|number| number.checked_mul(1_000_000)) {
            Some(bytes) => *bound = (bytes > 0).then_some(DiskSpace::Bytes(bytes)),
            None => return wrong(KEEP_STORAGE, text, "it is numbers of MB"),
        }
    }
    match parts.next() {
        Some(_) => wrong(KEEP_STORAGE, text, "it is three numbers at most"),
        None => Ok(GcSpace { reserved: bounds[0], min_free: bounds[1], max_used: bounds[2] }),
    }
}

/// The rules by which the build cache is kept small: those of the file, else BuildKit's usual ones with what is said of space.
fn rules(worker: &Worker) -> Vec<GcPolicy> {
    if worker.gc == Some(false) || !worker.policies.is_empty() {
        return if worker.gc == Some(false) { Vec::new() } else { worker.policies.clone() };
    }
    let space = match worker.space == GcSpace::default() {
        true => USUAL_SPACE,
        false => worker.space,
    };
    let rule = GcPolicy { space, ..GcPolicy::default() };
    vec![GcPolicy { keep: Some(USUAL_KEEP), ..rule.clone() }, rule.clone(), GcPolicy { all: true, ..rule }]
}

fn check(option: &str, text: Option<&str>, words: &[&str]) -> Result<()> {
    match text {
        Some(text) if !words.contains(&text) => {
            wrong(option, text, format!("it is one of `{}`", words.join("`, `")))
        }
        _ => Ok(()),
    }
}

/// What somebody relies on and would not get.
fn refuse(args: &BuildkitdArgs) -> Result<()> {
    let refused = &args.refused;
    let on = |flag: Option<bool>| flag == Some(true);
    let why = match &args.oci_worker.as_deref() {
        Some("false" | "0") => Some(("--oci-worker=false", "kiln has no other worker")),
        _ if on(refused.rootless) && !is_confined() => Some(("--rootless", ROOT)),
        _ if on(refused.oci_worker_rootless) && !is_confined() => Some(("--oci-worker-rootless", ROOT)),
        _ if on(refused.oci_worker_selinux) => Some(("--oci-worker-selinux", "steps would not be labelled")),
        _ if on(refused.proxy_network) => {
            Some(("--proxy-network", "steps would reach the network past the proxy"))
        }
        _ if refused.oci_worker_apparmor_profile.as_deref().is_some_and(|profile| !profile.is_empty()) => {
            Some(("--oci-worker-apparmor-profile", "steps would run without it"))
        }
        _ => None,
    };
    match why {
        Some((option, why)) => Err(Error::new(ErrorKind::NotImplemented, format!("`{option}`: {why}"))),
        None => Ok(()),
    }
}

/// What was said and changes nothing here, as options and as places in the file.
pub(super) fn ignored(args: &BuildkitdArgs, found: &Buildkitd) -> Vec<String> {
    let Ignored {
        save_cache_debug,
        oci_worker_snapshotter,
        oci_worker_proxy_snapshotter_path,
        oci_worker_net,
        oci_cni_config_path,
        oci_cni_binary_dir,
        oci_cni_pool_size,
        oci_worker_binary,
        otel_socket_path,
        containerd_worker,
        containerd_worker_addr,
        containerd_worker_labels,
        containerd_worker_platform,
        containerd_worker_namespace,
        containerd_worker_net,
        containerd_worker_snapshotter,
        containerd_worker_gc,
    } = &args.ignored;
    // What asks for what kiln does anyway is not worth a word.
    let unless = |option: &Option<String>, usual: &[&str]| {
        option.as_deref().is_some_and(|text| !usual.contains(&text))
    };
    let options = [
        ("oci-worker-no-process-sandbox", args.no_process_sandbox == Some(true) && !is_confined()),
        ("save-cache-debug", unless(save_cache_debug, &["false"])),
        ("oci-worker-snapshotter", unless(oci_worker_snapshotter, &["auto", "overlayfs"])),
        ("oci-worker-proxy-snapshotter-path", oci_worker_proxy_snapshotter_path.is_some()),
        ("oci-worker-net", unless(oci_worker_net, &["auto", "bridge"])),
        ("oci-cni-config-path", oci_cni_config_path.is_some()),
        ("oci-cni-binary-dir", oci_cni_binary_dir.is_some()),
        ("oci-cni-pool-size", oci_cni_pool_size.is_some()),
        ("oci-worker-binary", oci_worker_binary.is_some()),
        ("otel-socket-path", otel_socket_path.is_some()),
        ("containerd-worker", unless(containerd_worker, &["false", "auto"])),
        ("containerd-worker-addr", containerd_worker_addr.is_some()),
        ("containerd-worker-labels", !containerd_worker_labels.is_empty()),
        ("containerd-worker-platform", !containerd_worker_platform.is_empty()),
        ("containerd-worker-namespace", containerd_worker_namespace.is_some()),
        ("containerd-worker-net", containerd_worker_net.is_some()),
        ("containerd-worker-snapshotter", containerd_worker_snapshotter.is_some()),
        ("containerd-worker-gc", containerd_worker_gc.is_some()),
    ];
    let options = options.iter().filter(|(_, is_said)| *is_said).map(|(name, _)| format!("`--{name}`"));
    let is_narrow = |policy: &&GcPolicy| !policy.filters.is_empty();
    let narrow = found.worker.policies.iter().find(is_narrow);
    let narrow = narrow.map(|policy| format!("a `gcpolicy` with `filters = {:?}`", policy.filters));
    options.chain(found.ignored.iter().cloned()).chain(narrow).collect()
}

/// What the daemon is told; `socket` is where it listens if nobody says otherwise.
pub(super) fn options(args: &BuildkitdArgs, found: &Buildkitd, socket: PathBuf) -> Result<ServeOptions> {
    let platform = |text: &String| match text.parse::<Platform>() {
        Ok(platform) => Ok(platform),
        Err(error) => wrong("--oci-worker-platform", text, error),
    };
    let platforms = found.worker.platforms.iter().map(platform).collect::<Result<_>>()?;
    Ok(ServeOptions {
        addresses: addresses(args, found, socket)?,
        tls: tls(&found.tls)?,
        buildkit: buildkit::Options {
            environment: fetching(),
            entitlements: found.entitlements.clone(),
            labels: found.worker.labels.clone(),
            platforms,
            frontends: found.frontends.clone(),
            max_parallelism: found.worker.max_parallelism,
            gc: rules(&found.worker),
            ..buildkit::Options::default()
        },
        owner: Owner { uid: found.uid, gid: found.gid },
        monitor: found.debug_address.clone(),
        traces: serve::traces(),
        // As with BuildKit, what one client's build made is there for the next.
        shared: true,
        patience: time::length("--shutdown-timeout", &args.shutdown_timeout)?.unwrap_or_default(),
    })
}

fn addresses(args: &BuildkitdArgs, found: &Buildkitd, socket: PathBuf) -> Result<Vec<Address>> {
    if !args.addresses.is_empty() {
        return Ok(args.addresses.clone());
    }
    if found.addresses.is_empty() {
        return Ok(vec![Address::Unix(socket)]);
    }
    found
        .addresses
        .iter()
        .map(|text| text.parse().map_err(|error| Error::invalid(format!("{error}"))))
        .collect()
}

/// All files or none: a client that shows no certificate is root for whoever reaches the port.
fn tls(paths: &TlsPaths) -> Result<Option<TlsFiles>> {
    let TlsPaths { ca, cert, key } = paths;
    let all: [&Option<PathBuf>; 3] = [ca, cert, key];
    match (ca, cert, key) {
        (Some(ca), Some(cert), Some(key)) => {
            Ok(Some(TlsFiles { ca: ca.clone(), cert: cert.clone(), key: key.clone() }))
        }
        _ if all.iter().all(|path| path.is_none()) => Ok(None),
        _ => Err(Error::invalid("TLS needs an authority, a certificate and a key").with_hint(
            "give `--tlscacert`, `--tlscert` and `--tlskey`, or `ca`, `cert` and `key` in `[grpc.tls]`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_kept_small_as_the_file_says_or_as_usual() {
        let mut worker = Worker::default();
        let usual = rules(&worker);
        assert_eq!(usual.len(), 3);
        assert!(usual.iter().all(|rule| rule.space == USUAL_SPACE) && usual[2].all && !usual[0].all);
        worker.space = keep_storage("512,0,2000").unwrap();
        let expected = GcSpace {
            reserved: Some(DiskSpace::Bytes(512_000_000)),
            min_free: None,
            max_used: Some(DiskSpace::Bytes(2_000_000_000)),
        };
        assert!(rules(&worker).iter().all(|rule| rule.space == expected));
        worker.policies = vec![GcPolicy { all: true, ..GcPolicy::default() }];
        assert_eq!(rules(&worker), worker.policies);
        worker.gc = Some(false);
        assert!(rules(&worker).is_empty());
        for bad in ["", "x", "1,,2", "1,2,3,4", "-1"] {
            assert!(keep_storage(bad).is_err(), "{bad}");
        }
    }
}
