//! Work for somebody who is not root: in a user namespace, as root of it.

use std::path::Path;
use std::process::{Command, Stdio};

use kiln_sys::caps::CapSet;
use kiln_sys::user_namespace;

use crate::{Error, Result};

const PASSWD: &str = "/etc/passwd";
/// Who has which numbers besides their own (subuid(5)), and the program that the kernel lets map them.
const TABLES: [(&str, &str); 2] = [("/etc/subuid", "newuidmap"), ("/etc/subgid", "newgidmap")];
const MOUNTS: &str = "SYS_ADMIN";

/// Whether this process is root of a user namespace only, whoever made it: without control groups, devices and bridges.
pub fn is_confined() -> bool {
    user_namespace::is_confined()
}

/// Gets the right to mount where this process has it not: in a user namespace with the numbers that `/etc/subuid` and
/// `/etc/subgid` give to this user, or with its own alone. Says whether it had to. Before there are other threads.
pub fn enter() -> Result<bool> {
    let may_mount = CapSet::named(MOUNTS).is_some_and(|wanted| CapSet::effective().contains(wanted));
    let failed = |error| {
        Error::internal("become root of a user namespace", error).with_hint(
            "kiln wants to be root, or on a machine where everybody may make user namespaces (sysctl `user.max_user_namespaces`, \
             `kernel.unprivileged_userns_clone`, `kernel.apparmor_restrict_unprivileged_userns`)",
        )
    };
    if !may_mount {
        let (user, group) = user_namespace::own_ids();
        return user_namespace::become_root(move |pid| map(pid, [user, group], user))
            .map(|()| true)
            .map_err(failed);
    }
    if is_confined() {
        // Its rights may not extend to the mounts that it was started with.
        user_namespace::unshare_mounts().map_err(failed)?;
    }
    Ok(false)
}

/// Maps oneself and the numbers of both tables into the namespace of the process `pid`.
fn map(pid: u32, own: [u32; 2], user: u32) -> bool {
    let name = name_of(&read(PASSWD), user);
    let maps = TABLES.iter().zip(own).map(|((table, program), own)| {
        let ranges = ranges(&read(table), name.as_deref(), user);
        (!ranges.is_empty()).then(|| (program, arguments(own, &ranges)))
    });
    let Some(maps) = maps.collect::<Option<Vec<_>>>() else { return false };
    maps.into_iter().all(|(program, arguments)| {
        let mut command = Command::new(program);
        command.arg(pid.to_string()).args(arguments).stdin(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn name_of(passwd: &str, uid: u32) -> Option<String> {
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|words| words.get(2).and_then(|word| word.parse().ok()) == Some(uid))?;
    line.first().map(|name| (*name).to_owned())
}

/// First number and count of each line that is for a user, by name or number.
fn ranges(table: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut words = line.trim().split(':');
        let who = words.next()?;
        let is_own = name == Some(who) || who.parse() == Ok(uid);
        let (first, count) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        (is_own && count > 0).then_some((first, count))
    };
    table.lines().filter_map(range).collect()
}

/// What `newuidmap` is told behind the process: oneself is root, the rest follows.
fn arguments(own: u32, ranges: &[(u32, u32)]) -> Vec<String> {
    let mut words = vec![0, own, 1];
    let mut next = 1u32;
    for (first, count) in ranges {
        words.extend([next, *first, *count]);
        next = next.saturating_add(*count);
    }
    words.iter().map(u32::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_user_are_found_by_name_and_by_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        let name = name_of(passwd, 1000);
        assert_eq!(name.as_deref(), Some("ann"));
        let table = "# comment\nbob:1:2\nann:100000:65536\n1000:300000:10\nann:x:1\nann:5:0\n";
        assert_eq!(ranges(table, name.as_deref(), 1000), [(100_000, 65_536), (300_000, 10)]);
        assert!(ranges(table, None, 4).is_empty());
        let expected = "0 1000 1 1 100000 65536 65537 300000 10";
        assert_eq!(arguments(1000, &ranges(table, name.as_deref(), 1000)).join(" "), expected);
    }
}
