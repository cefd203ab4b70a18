//! A case's files on disk, the same wherever they are written.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, FileTimes, Permissions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use kiln_oci::Digest;
use kiln_sys::fs::{Root, xattr};

use super::{Case, FileSpec, Special};

/// When every file of a context was last changed, in seconds since 1970: long before any test runs.
pub const MTIME: u64 = 981_173_106;

/// Writes the case's Dockerfile and files into `folder`, which is there and empty.
pub fn write_context(case: &Case, folder: &Path) -> io::Result<()> {
    let time = time_of(case);
    write_file(folder, "Dockerfile", &FileSpec::Text(case.dockerfile.clone()), time)?;
    write_files(folder, &case.files, time)
}

/// `MTIME` and a fraction of the case's own: BuildKit takes files of one name, size and time for the same, in
/// whatever folder they are.
fn time_of(case: &Case) -> SystemTime {
    let digest = Digest::of(case.id().as_bytes());
    let fraction = u64::from_str_radix(&digest.hex()[..7], 16).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(MTIME) + Duration::from_nanos(fraction)
}

/// Writes `files`; directories get their own modes and times when all is in them.
fn write_files(folder: &Path, files: &BTreeMap<String, FileSpec>, time: SystemTime) -> io::Result<()> {
    for (path, spec) in files.iter().filter(|(path, _)| !path.ends_with('/')) {
        write_file(folder, path, spec, time)?;
    }
    for (path, spec) in files.iter().filter(|(path, _)| path.ends_with('/')).rev() {
        write_file(folder, path, spec, time)?;
    }
    set_times_of_directories(folder, time)
}

fn write_file(folder: &Path, name: &str, spec: &FileSpec, time: SystemTime) -> io::Result<()> {
    let special = match spec {
        FileSpec::Text(text) => Special { text: Some(text.clone()), ..Special::default() },
        FileSpec::Special(special) => special.clone(),
    };
    let path = folder.join(name);
    fs::create_dir_all(if name.ends_with('/') { &path } else { path.parent().unwrap_or(folder) })?;
    if let Some(target) = &special.link {
        return symlink(target, &path);
    }
    if let Some(files) = &special.archive {
        pack(&path, files, time)?;
    } else if !name.ends_with('/') {
        fs::write(&path, special.text.as_deref().unwrap_or_default())?;
    }
    let default = if name.ends_with('/') { 0o755 } else { 0o644 };
    fs::set_permissions(&path, Permissions::from_mode(special.mode.unwrap_or(default)))?;
    if let Some([user, group]) = special.owner {
        std::os::unix::fs::chown(&path, Some(user), Some(group))?;
    }
    set_attributes(&path, &special.xattrs)?;
    set_time(&path, time)
}

fn set_attributes(path: &Path, attributes: &BTreeMap<String, String>) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let parent = Root::open(parent).map_err(io::Error::other)?;
    for (attribute, value) in attributes {
        xattr::set(parent.as_fd(), name, OsStr::new(attribute), value.as_bytes())
            .map_err(io::Error::other)?;
    }
    Ok(())
}

fn set_time(path: &Path, time: SystemTime) -> io::Result<()> {
    fs::File::open(path)?.set_times(FileTimes::new().set_accessed(time).set_modified(time))
}

fn set_times_of_directories(folder: &Path, time: SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            set_times_of_directories(&entry.path(), time)?;
            set_time(&entry.path(), time)?;
        }
    }
    Ok(())
}

/// An archive of `files` by GNU tar, compressed as the path's ending says.
fn pack(path: &Path, files: &BTreeMap<String, FileSpec>, time: SystemTime) -> io::Result<()> {
    let content = tempfile::tempdir()?;
    write_files(content.path(), files, time)?;
    let mut command = Command::new("tar");
    command.args(["--create", "--auto-compress", "--numeric-owner", "--sort=name", "--format=gnu", "--file"]);
    command.arg(path).arg("--directory").arg(content.path());
    // Without `.`, whose mode is the temporary folder's.
    let mut names: Vec<_> =
        fs::read_dir(content.path())?.map(|e| Ok(e?.file_name())).collect::<io::Result<_>>()?;
    names.sort();
    let output = command.arg("--").args(names).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("tar: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn files_are_written_as_described() {
        let special = |text: &str| toml::from_str::<Special>(text).map(FileSpec::Special).unwrap();
        let files = BTreeMap::from([
            ("d/f".to_owned(), FileSpec::Text("text".to_owned())),
            ("d/".to_owned(), special("mode = 0o700")),
            ("l".to_owned(), special("link = 'd/f'")),
            ("x.tar.gz".to_owned(), special("archive = { inner = 'packed' }")),
        ]);
        let folder = tempfile::tempdir().unwrap();
        write_context(&Case { files, ..Case::default() }, folder.path()).unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(fs::read_to_string(at("l")).unwrap(), "text");
        let directory = fs::metadata(at("d")).unwrap();
        assert_eq!((directory.mode() & 0o7777, directory.mtime() as u64), (0o700, MTIME));
        let listed = Command::new("tar").arg("tf").arg(at("x.tar.gz")).output().unwrap();
        assert_eq!(listed.stdout, b"inner\n");
    }
}
