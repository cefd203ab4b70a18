//! Files as people have them, and what is wrong with others.

use super::*;

const WHOLE: &str = r#"
root = "/srv/state"
debug = true
insecure-entitlements = ["network.host", "device"]
proxyNetwork = false
[log]
format = "json"
[dns]
nameservers = ["10.0.0.2"]
options = ["edns0"]
searchDomains = ["example.com"]
[grpc]
address = ["unix:///run/a.sock", "tcp://0.0.0.0:1234"]
debugAddress = "127.0.0.1:6060"
uid = 7
gid = 8
[grpc.tls]
cert = "/c.crt"
key = "/c.key"
ca = "/ca.crt"
[cdi]
disabled = true
specDirs = ["/etc/cdi"]
[history]
maxAge = 172800
[worker.oci]
enabled = true
platforms = ["linux/amd64", "linux/arm64"]
snapshotter = "auto"
rootless = false
apparmor-profile = ""
binary = ""
max-parallelism = 4
gc = true
reservedSpace = "30%"
maxUsedSpace = "1.5GB"
minFreeSpace = 0
[worker.oci.labels]
foo = "bar"
[[worker.oci.gcpolicy]]
keepDuration = "1h30m"
filters = ["type==source.local"]
keepBytes = 512000000
[[worker.oci.gcpolicy]]
all = true
keepDuration = 60
[worker.containerd]
enabled = true
namespace = "x"
[registry."docker.io"]
mirrors = ["m.example:5000"]
[frontend."dockerfile.v0"]
enabled = true
[frontend."gateway.v0"]
enabled = false
allowedRepositories = ["a/b"]
"#;

#[test]
fn every_table_is_read() {
    let found = Buildkitd::parse(WHOLE, "b.toml").unwrap();
    assert_eq!(found.root.as_deref(), Some("/srv/state".as_ref()));
    assert_eq!((found.log_level.as_deref(), found.log_format.as_deref()), (Some("debug"), Some("json")));
    assert_eq!(found.entitlements, ["network.host", "device"]);
    assert_eq!(found.addresses, ["unix:///run/a.sock", "tcp://0.0.0.0:1234"]);
    assert_eq!(found.debug_address.as_deref(), Some("127.0.0.1:6060"));
    assert_eq!((found.uid, found.gid), (Some(7), Some(8)));
    assert_eq!(found.tls.ca.as_deref(), Some("/ca.crt".as_ref()));
    assert!(found.cdi_disabled && found.cdi_spec_dirs == [PathBuf::from("/etc/cdi")]);
    assert_eq!((found.dns.nameservers.len(), &found.dns.options[..]), (1, &["edns0".to_owned()][..]));
    assert_eq!(found.registries["docker.io"].mirrors, ["m.example:5000"]);
    let frontends = &found.frontends;
    assert_eq!((frontends.dockerfile, frontends.gateway), (Some(true), Some(false)));
    assert_eq!(frontends.repositories, ["a/b"]);
    let worker = &found.worker;
    assert_eq!(worker.platforms, ["linux/amd64", "linux/arm64"]);
    assert_eq!((worker.max_parallelism, worker.gc, &worker.labels["foo"][..]), (Some(4), Some(true), "bar"));
    assert_eq!(worker.space.reserved, Some(DiskSpace::Percent(30)));
    assert_eq!(worker.space.max_used, Some(DiskSpace::Bytes(3 << 29)));
    assert_eq!(worker.space.min_free, None);
    assert_eq!(worker.policies[0].keep, Some(Duration::from_secs(5400)));
    assert_eq!(worker.policies[0].space.reserved, Some(DiskSpace::Bytes(512_000_000)));
    assert_eq!((worker.policies[1].all, worker.policies[1].keep), (true, Some(Duration::from_secs(60))));
}

#[test]
fn what_changes_nothing_is_named_with_its_line() {
    let mut ignored = Buildkitd::parse(WHOLE, "b.toml").unwrap().ignored;
    ignored.sort();
    assert_eq!(
        ignored,
        ["b.toml:24: `history`", "b.toml:32: `worker.oci.binary`", "b.toml:47: `worker.containerd`"]
    );
}

#[test]
fn what_somebody_relies_on_and_mistakes_are_errors_with_their_line() {
    let cases = [
        ("proxyNetwork = true", "1: `proxyNetwork`: steps would reach the network past the proxy"),
        ("[worker.oci]\nenabled = false", "2: `worker.oci.enabled`: kiln has no other worker"),
        ("[worker.oci]\nselinux = true", "2: `worker.oci.selinux`: steps would not be labelled"),
        ("[worker.oci]\nrootless = true", "2: `worker.oci.rootless`: this is root of the machine"),
        ("[worker.oci]\nlables = {}", "2: unknown key `lables` in `[worker.oci]`"),
        ("[worker.oci]\nreservedSpace = \"much\"", "2: `reservedSpace` must be bytes, `512MB` or `10%`"),
        ("insecure-entitlements = [\"all\"]", "1: `all` is no entitlement"),
        ("[log]\nlevel = \"loud\"", "2: `level` is one of"),
        ("[grpc]\nuid = -1", "2: `uid` is out of range"),
        ("[dns]\nnameservers = [\"a\\nb\"]", "2: `nameservers`: `a\\nb` is no word"),
        ("[frontend.\"other.v0\"]\nenabled = true", "1: unknown key `other.v0` in `[frontend]`"),
    ];
    for (text, expected) in cases {
        let said = Buildkitd::parse(text, "b").unwrap_err().message;
        assert!(said.starts_with(&format!("b:{expected}")), "{text:?}: {said}");
    }
}

#[test]
fn sizes_are_bytes_units_or_parts() {
    let cases = [
        ("512", Some(DiskSpace::Bytes(512))),
        ("512MB", Some(DiskSpace::Bytes(512 << 20))),
        ("1 GiB", Some(DiskSpace::Bytes(1 << 30))),
        ("10%", Some(DiskSpace::Percent(10))),
        ("101%", None),
        ("", None),
        ("x", None),
        ("-1", None),
    ];
    for (text, expected) in cases {
        assert_eq!(DiskSpace::parse(text), expected, "{text}");
    }
    assert_eq!(DiskSpace::Percent(10).of(1000), 100);
}
