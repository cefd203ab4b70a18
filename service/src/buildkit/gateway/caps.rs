//! What clients may ask for: the capabilities that work, by BuildKit's names. Clients refuse a feature whose name is absent.

use bollard_buildkit_proto::moby::buildkit::v1::apicaps::ApiCap;

/// Of `LLBBridge` itself.
const FRONTEND: &[&str] = &[
    "solve.base",
    "resolveimage",
    "resolveimage.resolvemode",
    "readfile",
    "readdir",
    "statfile",
    "reference.output",
    "return",
    "returnmap",
    "proto.refarray",
    "gateway.solve.metadata",
    "gateway.solve.evaluate",
    "gateway.evaluate",
    "gateway.warnings",
    "source.metaresolver",
    "frontend.inputs",
    "frontend.caps",
    "gateway.exec",
    "gateway.exec.extrahosts",
    "gateway.exec.secretenv",
    "gateway.exec.signals",
];

/// Of graphs and exporters.
const LLB: &[&str] = &[
    "source.image",
    "source.image.resolvemode",
    "source.local",
    "source.local.unique",
    "source.local.sessionid",
    "source.local.includepatterns",
    "source.local.followpaths",
    "source.local.excludepatterns",
    "source.local.sharedkeyhint",
    "source.git",
    "source.git.keepgitdir",
    "source.git.fullurl",
    "source.git.httpauth",
    "source.git.knownsshhosts",
    "source.git.mountsshsock",
    "source.git.subdir",
    "source.git.checksum",
    "source.git.skipsubmodules",
    "source.git.mtime",
    "source.git.fetchbycommit",
    "source.http",
    "source.http.checksum",
    "source.http.perm",
    // BuildKit's own spelling.
    "soruce.http.uidgid",
    "source.ocilayout",
    "exec.meta.base",
    "exec.meta.network",
    "exec.meta.proxyenv",
    "exec.meta.security",
    "exec.meta.security.devices.v1",
    "exec.meta.ulimit",
    "exec.meta.cdi",
    "exec.meta.removemountstubs.recursive",
    "exec.mount.bind",
    "exec.mount.bind.readwrite-nooutput",
    "exec.mount.cache",
    "exec.mount.cache.sharing",
    "exec.mount.selector",
    "exec.mount.tmpfs",
    "exec.mount.tmpfs.size",
    "exec.mount.secret",
    "exec.mount.ssh",
    "exec.mount.cache.content",
    "exec.cgroup",
    "exec.secretenv",
    "exec.validexitcode",
    "file.base",
    "file.rm.wildcard",
    "file.copy.modestring",
    "file.symlink.create",
    "constraints",
    "platform",
    "meta.ignorecache",
    "meta.description",
    "meta.exportcache",
    "mergeop",
    "diffop",
    "gc.freespacefilter",
    "exporter.image.annotations",
    "exporter.image.attestations",
    "exporter.sourcedateepoch",
    "exporter.multiple",
    "history.filter",
    "source.policy",
];

/// The capabilities of `LLBBridge`.
pub(super) fn frontend() -> Vec<ApiCap> {
    caps(FRONTEND)
}

/// The capabilities of graphs and exporters.
pub(super) fn llb() -> Vec<ApiCap> {
    caps(LLB)
}

fn caps(names: &[&str]) -> Vec<ApiCap> {
    names.iter().map(|name| ApiCap { id: (*name).to_owned(), enabled: true, ..ApiCap::default() }).collect()
}
