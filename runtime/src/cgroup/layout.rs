//! Where this host mounts its control groups: version 1, version 2, or both side by side.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{Error, Result};

/// The mounted hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Version 1: controller to mount point. Controllers mounted together share one.
    pub(crate) v1: BTreeMap<String, PathBuf>,
    /// Version 2.
    pub(crate) v2: Option<PathBuf>,
}

impl Layout {
    /// The layout of this host, read once.
    pub(crate) fn of_host() -> Result<&'static Layout> {
        static LAYOUT: OnceLock<Layout> = OnceLock::new();
        const FILE: &str = "/proc/self/mountinfo";
        if let Some(layout) = LAYOUT.get() {
            return Ok(layout);
        }
        let text = std::fs::read_to_string(FILE).map_err(|cause| Error::io("read", FILE, cause))?;
        Ok(LAYOUT.get_or_init(|| Layout::parse(&text)))
    }

    /// Reads `/proc/self/mountinfo`. Of several mounts of a hierarchy the first counts.
    fn parse(mountinfo: &str) -> Layout {
        let mut layout = Layout::default();
        for line in mountinfo.lines() {
            let Some((target, fs_type, options)) = parse_mount(line) else { continue };
            match fs_type {
                "cgroup2" => {
                    layout.v2.get_or_insert(target);
                }
                "cgroup" => {
                    for option in options.split(',').filter(|option| !matches!(*option, "rw" | "ro")) {
                        layout.v1.entry(option.to_owned()).or_insert_with(|| target.clone());
                    }
                }
                _ => {}
            }
        }
        layout
    }

    /// Whether version 2 does everything.
    pub(crate) fn is_unified(&self) -> bool {
        self.v2.is_some() && !["memory", "pids", "devices"].iter().any(|name| self.v1.contains_key(*name))
    }

    /// Every mount point.
    pub(crate) fn mounts(&self) -> impl Iterator<Item = &Path> {
        let mut mounts: Vec<&Path> = self.v1.values().chain(&self.v2).map(PathBuf::as_path).collect();
        mounts.sort_unstable();
        mounts.dedup();
        mounts.into_iter()
    }
}

/// Mount point, type and super block options of a line of `mountinfo` (proc_pid_mountinfo(5)).
fn parse_mount(line: &str) -> Option<(PathBuf, &str, &str)> {
    let (before, after) = line.split_once(" - ")?;
    let target = before.split(' ').nth(4)?;
    let mut after = after.split(' ');
    let fs_type = after.next()?;
    Some((PathBuf::from(target), fs_type, after.nth(1).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
99 31 0:33 / /other/devices rw,relatime - cgroup cgroup rw,devices
";

    #[test]
    fn both_versions_side_by_side() {
        let layout = Layout::parse(HYBRID);
        assert_eq!(layout.v1["cpu"], layout.v1["cpuacct"]);
        assert_eq!(layout.v1["devices"], Path::new("/sys/fs/cgroup/devices"));
        assert_eq!(layout.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert!(!layout.is_unified());
        assert_eq!(layout.mounts().count(), 4);
    }

    #[test]
    fn version_2_alone() {
        let layout =
            Layout::parse("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\nbroken\n");
        assert!(layout.is_unified());
        assert_eq!(layout.mounts().collect::<Vec<_>>(), [Path::new("/sys/fs/cgroup")]);
    }
}
