//! Looking at containers: lists, details, processes.

use std::path::Path;

use kiln_runtime::cgroup::Cgroup;
use kiln_snapshot::Key;

use super::record::Records;
use super::{Container, Containers, ListOptions, ProcessTable};
use crate::{Error, Result};

/// Clock ticks a second in `/proc/<pid>/stat`; Linux shows every user space this number.
const TICKS: u64 = 100;

impl Containers<'_> {
    /// Containers, newest first.
    pub fn list(&self, options: &ListOptions) -> Result<Vec<Container>> {
        let records = Records::of(self.engine).list()?.into_iter().rev();
        let wanted = records.filter(|record| options.all || record.is_active());
        Ok(wanted.map(|record| record.container).collect())
    }

    /// One container by name, id or the beginning of its id.
    pub fn inspect(&self, name: &str) -> Result<Container> {
        Ok(Records::of(self.engine).find(name)?.container)
    }

    /// Bytes of what a container has written to its root filesystem.
    pub fn size(&self, container: &Container) -> Result<u64> {
        let usage = self.engine.store().snapshots.usage_active(&Key(container.id.clone()));
        Ok(usage.map_err(|error| Error::internal("measure the container", error))?.bytes)
    }

    /// The processes of a running container.
    pub fn top(&self, name: &str) -> Result<ProcessTable> {
        let record = Records::of(self.engine).find(name)?;
        if !record.is_active() {
            return Err(Error::conflict(format!("the container `{}` is not running", record.container.name)));
        }
        let failed = |error| Error::internal("list the container's processes", error);
        let mut pids = Cgroup::open(&record.cgroup_paths).and_then(|group| group.pids()).map_err(failed)?;
        pids.sort_unstable();
        // One that ended meanwhile is left out.
        let rows =
            pids.into_iter().filter_map(|pid| row(&Path::new("/proc").join(pid.to_string()))).collect();
        let titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
        Ok(ProcessTable { titles: titles.map(str::to_owned).to_vec(), rows })
    }
}

/// One process as `ps -ef` shows it (proc_pid_stat(5)).
fn row(process: &Path) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    let seconds = (number(11)? + number(12)?) / TICKS;
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?;
    let arguments = std::fs::read(process.join("cmdline")).ok()?;
    let arguments = String::from_utf8_lossy(&arguments).trim_end_matches('\0').replace('\0', " ");
    let command = if arguments.is_empty() { format!("[{name}]") } else { arguments };
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let terminal = if number(4)? == 0 { "?" } else { "pts/0" };
    let row = [uid, pid, fields.get(1)?, "0", &started(number(19)?)?, terminal, &time, &command];
    Some(row.map(str::to_owned).to_vec())
}

/// The time of day at which a process started that did so `ticks` after the machine.
fn started(ticks: u64) -> Option<String> {
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    let age = (uptime as u64).saturating_sub(ticks / TICKS);
    let start = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(i64::try_from(age).ok()?);
    Some(start.strftime("%H:%M").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_row() {
        let row = row(Path::new("/proc/self")).unwrap();
        assert_eq!(row[1], std::process::id().to_string());
        assert_eq!(row.len(), 8);
        assert!(!row[7].is_empty());
    }
}
