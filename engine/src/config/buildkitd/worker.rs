//! The `[worker.…]` tables of `buildkitd.toml`.

use std::time::Duration;

use toml::de::DeValue;

use super::{DiskSpace, GcPolicy, GcSpace, Key, Reading, Value};
use crate::Result;
use crate::rootless::is_confined;

/// Keys of `[worker.oci]` that say how BuildKit does what kiln does otherwise.
const OTHERWISE: &[&str] = &[
    "noProcessSandbox",
    "networkMode",
    "cniConfigPath",
    "cniBinaryPath",
    "cniPoolSize",
    "bridgeName",
    "bridgeSubnet",
    "binary",
    "proxySnapshotterPath",
    "stargzSnapshotter",
    "defaultCgroupParent",
    "userRemapUnsupported",
];
const KEYS: &[&str] = &[
    "enabled",
    "labels",
    "platforms",
    "max-parallelism",
    "gc",
    "gcpolicy",
    "gckeepstorage",
    "reservedSpace",
    "maxUsedSpace",
    "minFreeSpace",
    "snapshotter",
    "rootless",
    "apparmor-profile",
    "selinux",
];
const POLICY_KEYS: &[&str] =
    &["all", "filters", "keepDuration", "keepBytes", "reservedSpace", "maxUsedSpace", "minFreeSpace"];
/// Snapshotters that do what kiln does.
const SNAPSHOTTERS: [&str; 3] = ["", "auto", "overlayfs"];
/// Units of sizes, of 1024 as BuildKit's are.
const UNITS: [(&str, u32); 5] = [("k", 10), ("m", 20), ("g", 30), ("t", 40), ("p", 50)];
/// Units of lengths of time.
const LENGTHS: [(&str, f64); 4] = [("h", 3600.0), ("ms", 0.001), ("m", 60.0), ("s", 1.0)];

impl Reading<'_> {
    pub(super) fn workers(&mut self, value: &Value<'_>) -> Result<()> {
        for (key, value) in self.at.table("worker", value)? {
            match key.get_ref().as_ref() {
                "oci" => self.worker(value)?,
                "containerd" => self.ignore(key, "worker"),
                _ => return Err(self.at.unknown(key, " in `[worker]`", &["oci", "containerd"])),
            }
        }
        Ok(())
    }

    fn worker(&mut self, value: &Value<'_>) -> Result<()> {
        for (key, value) in self.at.table("worker.oci", value)? {
            let name = key.get_ref().as_ref();
            match name {
                "enabled" if !self.at.boolean(name, value)? => {
                    return Err(self.refused(value, "worker.oci.enabled", "kiln has no other worker"));
                }
                "enabled" => {}
                "labels" => {
                    for (label, value) in self.at.table(name, value)? {
                        let text = self.at.string(label.get_ref(), value)?;
                        self.found.worker.labels.insert(label.get_ref().to_string(), text);
                    }
                }
                "platforms" => self.found.worker.platforms = self.at.strings(name, value)?,
                "max-parallelism" => {
                    let number: usize = self.number(name, value)?;
                    self.found.worker.max_parallelism = Some(number).filter(|number| *number > 0);
                }
                "noProcessSandbox" if is_confined() => self.found.host_proc = self.at.boolean(name, value)?,
                "gc" => self.found.worker.gc = Some(self.at.boolean(name, value)?),
                "gcpolicy" => {
                    let policies = self.at.array(name, value)?.iter();
                    let policies = policies.map(|policy| self.policy(policy)).collect::<Result<_>>()?;
                    self.found.worker.policies = policies;
                }
                "rootless" if self.at.boolean(name, value)? && !is_confined() => {
                    return Err(self.refused(value, "worker.oci.rootless", "this is root of the machine"));
                }
                "rootless" => {}
                "selinux" if self.at.boolean(name, value)? => {
                    return Err(self.refused(value, "worker.oci.selinux", "steps would not be labelled"));
                }
                "selinux" => {}
                "apparmor-profile" if !self.at.string(name, value)?.is_empty() => {
                    return Err(self.refused(
                        value,
                        "worker.oci.apparmor-profile",
                        "steps would run without it",
                    ));
                }
                "apparmor-profile" => {}
                "snapshotter" if SNAPSHOTTERS.contains(&self.at.string(name, value)?.as_str()) => {}
                "snapshotter" => self.ignore(key, "worker.oci"),
                _ if OTHERWISE.contains(&name) => self.ignore(key, "worker.oci"),
                _ => {
                    let mut space = self.found.worker.space;
                    match self.space(key, value, &mut space)? {
                        true => self.found.worker.space = space,
                        false => return Err(self.at.unknown(key, " in `[worker.oci]`", KEYS)),
                    }
                }
            }
        }
        Ok(())
    }

    fn policy(&self, value: &Value<'_>) -> Result<GcPolicy> {
        let mut policy = GcPolicy::default();
        for (key, value) in self.at.table("gcpolicy", value)? {
            match key.get_ref().as_ref() {
                "all" => policy.all = self.at.boolean("all", value)?,
                "filters" => policy.filters = self.at.strings("filters", value)?,
                "keepDuration" => policy.keep = Some(self.length(value)?).filter(|length| !length.is_zero()),
                _ if self.space(key, value, &mut policy.space)? => {}
                _ => return Err(self.at.unknown(key, " in a `gcpolicy`", POLICY_KEYS)),
            }
        }
        Ok(policy)
    }

    /// A bound of space; whether the key is one.
    fn space(&self, key: &Key<'_>, value: &Value<'_>, space: &mut GcSpace) -> Result<bool> {
        let name = key.get_ref().as_ref();
        let bound = match name {
            "reservedSpace" | "keepBytes" | "gckeepstorage" => &mut space.reserved,
            "maxUsedSpace" => &mut space.max_used,
            "minFreeSpace" => &mut space.min_free,
            _ => return Ok(false),
        };
        *bound = match value.get_ref() {
            DeValue::String(text) => match DiskSpace::parse(text) {
                Some(space) => Some(space),
                None => return Err(self.at.wrong_text(name, value, "bytes, `512MB` or `10%`")),
            },
            _ => Some(DiskSpace::Bytes(self.number(name, value)?)),
        };
        // No bound is written as 0.
        *bound = bound.filter(|bound| !matches!(bound, DiskSpace::Bytes(0) | DiskSpace::Percent(0)));
        Ok(true)
    }

    /// Seconds, or a length such as `48h`.
    fn length(&self, value: &Value<'_>) -> Result<Duration> {
        let DeValue::String(text) = value.get_ref() else {
            return Ok(Duration::from_secs(self.number("keepDuration", value)?));
        };
        let length = text.parse::<u64>().ok().map(Duration::from_secs).or_else(|| length(text));
        length.ok_or_else(|| self.at.wrong_text("keepDuration", value, "seconds or a length such as `48h`"))
    }
}

impl DiskSpace {
    /// From bytes, `512MB` or `10%`.
    pub fn parse(text: &str) -> Option<DiskSpace> {
        if let Some(percent) = text.strip_suffix('%') {
            return percent.trim().parse().ok().filter(|percent| *percent <= 100).map(DiskSpace::Percent);
        }
        let lower = text.trim().to_ascii_lowercase();
        let unit = lower.trim_end_matches('b').trim_end_matches('i');
        let (digits, shift) = UNITS
            .iter()
            .find_map(|(unit_, shift)| unit.strip_suffix(unit_).map(|digits| (digits, *shift)))
            .unwrap_or((unit, 0));
        let number: f64 = digits.trim().parse().ok()?;
        let bytes = number * f64::from(shift).exp2();
        (bytes.is_finite() && (0.0..u64::MAX as f64).contains(&bytes))
            .then_some(DiskSpace::Bytes(bytes as u64))
    }

    /// So many bytes of a disk of `whole`.
    pub fn of(self, whole: u64) -> u64 {
        match self {
            DiskSpace::Bytes(bytes) => bytes,
            DiskSpace::Percent(percent) => (u128::from(whole) * u128::from(percent) / 100) as u64,
        }
    }
}

/// Go's form: `48h`, `1h30m`.
fn length(text: &str) -> Option<Duration> {
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..at].parse().ok()?;
        rest = &rest[at..];
        let (unit, factor) = LENGTHS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        seconds += number * factor;
        rest = &rest[unit.len()..];
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|_| !text.is_empty())
}
