//! Who a process is: `user[:group]` looked up in the image's own tables.

use kiln_sys::child::Ids;
use kiln_sys::fs::Root;

use crate::error::{Error, Preparing, Result};

/// The most bytes read of an image's `/etc/passwd` or `/etc/group`.
const TABLE_MAX: u64 = 1024 * 1024;

/// The highest user or group id; above it the kernel and other tools disagree about signs.
const ID_MAX: u32 = 0x7fff_ffff;

/// The most supplementary groups the kernel takes.
const GROUPS_MAX: usize = 65536;

/// A user of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The ids.
    pub ids: Ids,
    /// The home directory, `/` when the tables have none.
    pub home: String,
}

/// Looks up `user[:group]` and more groups in the tables beneath `root`.
pub fn lookup(root: &Root, user: &str, extra: &[String]) -> Result<User> {
    let read = |path: &'static str| {
        let bytes =
            root.read_limited(path, TABLE_MAX).preparing(|| format!("read `/{path}` of the image"))?;
        Ok::<_, Error>(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    find(&read("etc/passwd")?, &read("etc/group")?, user, extra)
}

/// [`lookup`] in the texts of the two tables.
fn find(passwd: &str, group: &str, user: &str, extra: &[String]) -> Result<User> {
    let (user, group_name) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let entry = passwd_entry(passwd, if user.is_empty() { "0" } else { user })?;
    let gid = match group_name {
        Some(name) => group_id(group, name)?,
        None => entry.gid,
    };
    let mut groups = vec![gid];
    if group_name.is_none() {
        groups.extend(memberships(group, &entry.name));
    }
    for name in extra {
        groups.push(group_id(group, name)?);
    }
    let mut seen = std::collections::HashSet::new();
    groups.retain(|gid| seen.insert(*gid));
    groups.truncate(GROUPS_MAX);
    let keeps_groups = !kiln_sys::user_namespace::may_set_groups();
    Ok(User { ids: Ids { uid: entry.uid, gid, groups, keeps_groups }, home: entry.home })
}

struct Entry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

fn passwd_entry(passwd: &str, user: &str) -> Result<Entry> {
    let number = number(user, "user")?;
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { continue };
        let (Ok(uid), Ok(gid)) = (uid.parse::<u32>(), gid.parse::<u32>()) else { continue };
        let matches = match number {
            Some(number) => uid == number,
            None => name == user,
        };
        if matches && uid <= ID_MAX && gid <= ID_MAX {
            let home = if home.is_empty() { "/" } else { home };
            return Ok(Entry { name: name.to_owned(), uid, gid, home: home.to_owned() });
        }
    }
    match number {
        Some(uid) => Ok(Entry { name: String::new(), uid, gid: 0, home: "/".to_owned() }),
        None => Err(Error::Unlisted { what: "user", name: user.to_owned(), file: "passwd" }),
    }
}

fn group_id(table: &str, group: &str) -> Result<u32> {
    if let Some(number) = number(group, "group")? {
        return Ok(number);
    }
    let found = groups(table).find(|(name, ..)| *name == group).map(|(_, gid, _)| gid);
    found.ok_or_else(|| Error::Unlisted { what: "group", name: group.to_owned(), file: "group" })
}

fn memberships(table: &str, user: &str) -> Vec<u32> {
    if user.is_empty() {
        return Vec::new();
    }
    groups(table)
        .filter(|(.., members)| members.split(',').any(|m| m == user))
        .map(|(_, gid, _)| gid)
        .collect()
}

fn groups(table: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    table.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, gid) = (fields.next()?, fields.nth(1)?.parse().ok()?);
        (gid <= ID_MAX).then(|| (name, gid, fields.next().unwrap_or_default()))
    })
}

/// The id, if the text is a number. Text that looks like one and is none never becomes a name: an image's
/// tables could map it to root.
fn number(text: &str, what: &str) -> Result<Option<u32>> {
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+'));
    let odd = text.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control() || b == b':');
    if text.is_empty() || odd {
        return Err(Error::Invalid(format!("invalid {what} `{text}`")));
    }
    if !numeric {
        return Ok(None);
    }
    let canonical = text.parse::<u32>().ok().filter(|id| *id <= ID_MAX && id.to_string() == text);
    canonical.map(Some).ok_or_else(|| {
        Error::Invalid(format!(
            "invalid {what} `{text}`: numeric ids are 0 to {ID_MAX}, without leading zeros"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        app:x:1000:1001::/home/app:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n-1:x:0:0::/:\nbroken\nodd:x:-1:0::/:\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:syslog,app\napp:x:1001:\nwheel:x:10:root,app\n";

    fn ids(user: &str) -> Option<(u32, u32, Vec<u32>)> {
        find(PASSWD, GROUP, user, &[]).ok().map(|u| (u.ids.uid, u.ids.gid, u.ids.groups))
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(ids(""), Some((0, 0, vec![0, 10])));
        assert_eq!(ids("root"), Some((0, 0, vec![0, 10])));
        assert_eq!(ids("0"), Some((0, 0, vec![0, 10])));
        assert_eq!(ids("1"), Some((1, 0, vec![0])));
        assert_eq!(ids("1:1"), Some((1, 1, vec![1])));
        assert_eq!(ids("app"), Some((1000, 1001, vec![1001, 4, 10])));
        assert_eq!(ids("1000"), Some((1000, 1001, vec![1001, 4, 10])));
        assert_eq!(ids("app:adm"), Some((1000, 4, vec![4])));
        assert_eq!(ids(":1"), Some((0, 1, vec![1])));
        assert_eq!(ids("2147483647"), Some((i32::MAX as u32, 0, vec![0])));
    }

    #[test]
    fn what_is_no_id_is_an_error_and_never_root() {
        for user in [
            "4294967295",
            "4294967296",
            "2147483648",
            "-1",
            "+0",
            "00",
            " 0",
            "0 ",
            "1:4294967296",
            "1:00",
            "nobody",
            "app:none",
            "odd",
            "0\n",
            "1:2:3",
        ] {
            assert_eq!(ids(user), None, "{user:?}");
        }
    }

    #[test]
    fn homes_and_more_groups() {
        assert_eq!(find(PASSWD, GROUP, "app", &[]).unwrap().home, "/home/app");
        assert_eq!(find("", "", "5", &[]).unwrap().home, "/");
        let more = find(PASSWD, GROUP, "5", &["wheel".into(), "77".into()]).unwrap();
        assert_eq!(more.ids.groups, [0, 10, 77]);
    }
}
