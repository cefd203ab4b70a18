//! Owners by name, looked up in the filesystem that is being changed.

use kiln_graph::{Owner, Principal};
use kiln_sys::fs::{self, Root};

use crate::error::Cause;

/// The most bytes of `/etc/passwd` and `/etc/group` that are read.
const MAX_ACCOUNTS: u64 = 1 << 20;

/// The numbers of `owner` in the filesystem `root`; root where nobody is named.
pub(super) fn lookup(owner: Option<&Owner>, root: &Root) -> Result<fs::Owner, Cause> {
    let Some(owner) = owner else { return Ok(fs::Owner { uid: 0, gid: 0 }) };
    check(owner)?;
    let (uid, users_group) = match &owner.user {
        None => (0, 0),
        Some(Principal::Id(id)) => (*id, *id),
        Some(Principal::Name(name)) => user(root, name)?,
    };
    let gid = match &owner.group {
        None => users_group,
        Some(Principal::Id(id)) => *id,
        Some(Principal::Name(name)) => group(root, name)?,
    };
    Ok(fs::Owner { uid, gid })
}

/// The numbers of an owner who is nobody or given by number.
pub(super) fn numbers(owner: Option<&Owner>) -> Result<fs::Owner, Cause> {
    let Some(owner) = owner else { return Ok(fs::Owner { uid: 0, gid: 0 }) };
    check(owner)?;
    let number = |part: &Option<Principal>| match part {
        Some(Principal::Id(id)) => Some(*id),
        Some(Principal::Name(_)) | None => None,
    };
    let uid = number(&owner.user);
    Ok(fs::Owner { uid: uid.unwrap_or(0), gid: number(&owner.group).or(uid).unwrap_or(0) })
}

fn check(owner: &Owner) -> Result<(), Cause> {
    owner.check().map_err(|error| Cause::Invalid(error.to_string()))
}

fn user(root: &Root, name: &str) -> Result<(u32, u32), Cause> {
    let fields = entry(root, "etc/passwd", "user", name)?;
    let number = |at: usize| fields.get(at).and_then(|field| field.parse().ok());
    number(2).zip(number(3)).ok_or_else(|| unknown("user", name, "/etc/passwd", "its entry is malformed"))
}

fn group(root: &Root, name: &str) -> Result<u32, Cause> {
    let fields = entry(root, "etc/group", "group", name)?;
    let number = fields.get(2).and_then(|field| field.parse().ok());
    number.ok_or_else(|| unknown("group", name, "/etc/group", "its entry is malformed"))
}

/// The fields of the line that begins with `name`.
fn entry(root: &Root, file: &str, what: &str, name: &str) -> Result<Vec<String>, Cause> {
    let path = format!("/{file}");
    let Some(bytes) = root.read_limited(file, MAX_ACCOUNTS).map_err(|error| {
        Cause::Invalid(format!("{what} `{name}` cannot be looked up in the image's `{path}`: {error}"))
    })?
    else {
        return Err(unknown(what, name, &path, "there is no such file"));
    };
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().find(|line| line.split(':').next() == Some(name));
    let line = line.ok_or_else(|| unlisted(what, name, &path))?;
    Ok(line.split(':').map(|field| field.trim().to_owned()).collect())
}

fn unlisted(what: &str, name: &str, file: &str) -> Cause {
    Cause::NotGiven {
        what: format!("{what} `{name}` is not in the image's `{file}`"),
        hint: format!("make the {what} in a RUN before, or give its number, which need not be listed"),
    }
}

fn unknown(what: &str, name: &str, file: &str, reason: &str) -> Cause {
    Cause::Invalid(format!("{what} `{name}` is not in the image's `{file}`: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(
            dir.path().join("etc/passwd"),
            "root:x:0:0::/:/bin/sh\nweb:x:33:34::/srv:/bin/sh\nbad:x:y\n",
        )
        .unwrap();
        std::fs::write(dir.path().join("etc/group"), "root:x:0:\nstaff:x:50:web\n").unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn names_and_numbers_are_found() {
        let (_dir, root) = root();
        let ids = |text: &str| lookup(Owner::parse(text).as_ref(), &root).map(|owner| (owner.uid, owner.gid));
        assert_eq!(ids("").unwrap(), (0, 0));
        assert_eq!(ids("7").unwrap(), (7, 7));
        assert_eq!(ids("7:8").unwrap(), (7, 8));
        assert_eq!(ids("web").unwrap(), (33, 34));
        assert_eq!(ids("web:staff").unwrap(), (33, 50));
        assert_eq!(ids(":staff").unwrap(), (0, 50));
        for text in ["", "7", "7:8", ":9"] {
            let owner = numbers(Owner::parse(text).as_ref()).unwrap();
            assert_eq!((owner.uid, owner.gid), ids(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn unknown_names_are_errors_that_say_where() {
        let (_dir, root) = root();
        let error = |text: &str| lookup(Owner::parse(text).as_ref(), &root).unwrap_err().to_string();
        assert_eq!(error("nobody"), "user `nobody` is not in the image's `/etc/passwd`");
        assert!(error("bad").contains("malformed"));
        assert!(error("web:nobody").contains("/etc/group"));
    }

    #[test]
    fn a_file_that_is_none_or_too_large_is_an_error_and_nobody_waits() {
        let (dir, root) = root();
        let passwd = dir.path().join("etc/passwd");
        let error = || lookup(Owner::parse("web").as_ref(), &root).unwrap_err().to_string();
        std::fs::write(&passwd, vec![b'x'; 200 << 20]).unwrap();
        assert!(error().contains("more than 1048576 bytes"), "{}", error());
        std::fs::remove_file(&passwd).unwrap();
        let etc = root.open_dir("etc").unwrap();
        fs::mknodat(std::os::fd::AsFd::as_fd(&etc), "passwd", 0o010_600, 0).unwrap();
        assert!(error().contains("not a regular file"), "{}", error());
    }

    #[test]
    fn what_looks_like_a_number_is_never_looked_up() {
        let (dir, root) = root();
        std::fs::write(dir.path().join("etc/passwd"), "4294967296:x:0:0::/:\n-1:x:0:0::/:\n00:x:0:0::/:\n")
            .unwrap();
        for bad in ["4294967295", "4294967296", "-1", "00", "1:4294967296"] {
            let error = lookup(Owner::parse(bad).as_ref(), &root).unwrap_err().to_string();
            assert!(error.starts_with("invalid user or group"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_link_out_of_the_root_is_not_followed() {
        let (dir, root) = root();
        std::fs::remove_file(dir.path().join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("etc/passwd")).unwrap();
        assert!(lookup(Owner::parse("daemon").as_ref(), &root).is_err());
    }
}
