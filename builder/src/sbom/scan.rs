//! Finds the packages of a filesystem.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::Path;

use kiln_sys::fs::{self, Entry, Root};

use super::walk::{Folder, walk};
use super::{Distro, MAX_PACKAGES, Package, Take, apk, auditable, cargo, dpkg, npm, pip, rpm};
use crate::error::Cause;

/// The most bytes of a package manager's database.
const MAX_DATABASE: u64 = 256 << 20;
/// The most bytes of a file about one package.
const MAX_DESCRIPTION: u64 = 8 << 20;
/// The most notes about what was not read.
const MAX_NOTES: usize = 100;

/// Where a distribution says what it is.
const OS_RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
/// Hands on what a database holds; `None` where it is damaged.
type Parse = fn(&[u8], Take<'_>) -> Option<()>;

/// Text is never damaged.
const DPKG: Parse = |bytes, take| {
    dpkg::parse(bytes, take);
    Some(())
};
const APK: Parse = |bytes, take| {
    apk::parse(bytes, take);
    Some(())
};

/// Databases that are one file, and who reads them.
const DATABASES: [(&str, Parse); 5] = [
    ("var/lib/dpkg/status", DPKG),
    ("lib/apk/db/installed", APK),
    ("usr/lib/apk/db/installed", APK),
    ("usr/lib/sysimage/rpm/rpmdb.sqlite", rpm::parse),
    ("var/lib/rpm/rpmdb.sqlite", rpm::parse),
];
/// A database of one file a package.
const STATUS_D: &str = "var/lib/dpkg/status.d";
/// Files beside the packages of `status.d` that are none.
const CHECKSUMS: &str = ".md5sums";
/// Databases in forms that are not read.
const UNREAD: [&str; 4] = [
    "var/lib/rpm/Packages",
    "var/lib/rpm/Packages.db",
    "usr/lib/sysimage/rpm/Packages",
    "usr/lib/sysimage/rpm/Packages.db",
];
/// What a database of SQLite has beside it while it has changes that are not in it yet.
const LOG_SUFFIX: &str = "-wal";
/// Where cargo keeps what it downloaded: no program consists of it.
const CARGO_SOURCES: &str = "registry/src";

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The distribution.
    pub distro: Distro,
    /// The packages, sorted, each once.
    pub packages: Vec<Package>,
    /// What could not be read, and why.
    pub notes: Vec<String>,
}

/// Reads the databases beneath `root`.
pub fn scan(root: &Root) -> Result<Inventory, Cause> {
    let mut scan = Scan { root, notes: Vec::new(), packages: BTreeSet::new(), seen: HashSet::new() };
    let distro = scan.distro();
    DATABASES.iter().for_each(|(path, parse)| scan.database(path, *parse));
    scan.status_d();
    scan.name_unread();
    scan.files();
    let Scan { mut notes, packages, .. } = scan;
    if let Some(more) = notes.len().checked_sub(MAX_NOTES).filter(|more| *more > 0) {
        notes.truncate(MAX_NOTES);
        notes.push(format!("{more} more"));
    }
    Ok(Inventory { distro, packages: packages.into_iter().collect(), notes })
}

struct Scan<'a> {
    root: &'a Root,
    notes: Vec<String>,
    packages: BTreeSet<Package>,
    /// Databases that were read: `lib` may be a link to `usr/lib`.
    seen: HashSet<((u32, u32), u64)>,
}

impl Scan<'_> {
    fn distro(&mut self) -> Distro {
        OS_RELEASE
            .iter()
            .find_map(|path| self.read(path, MAX_DESCRIPTION))
            .map(|bytes| Distro::parse(&bytes))
            .unwrap_or_default()
    }

    /// A file that is there; one that is and cannot be read is noted.
    fn read(&mut self, path: &str, limit: u64) -> Option<Vec<u8>> {
        match self.root.read_limited(path, limit) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.notes.push(format!("`{path}` ({error})"));
                None
            }
        }
    }

    fn database(&mut self, path: &str, parse: Parse) {
        let stat = self.root.open_file(path).and_then(|file| fs::fstat(file.as_fd()));
        if stat.is_ok_and(|stat| !self.seen.insert((stat.dev, stat.ino))) {
            return;
        }
        let Some(bytes) = self.read(path, MAX_DATABASE) else { return };
        if parse(&bytes, &mut |package| self.take(path, package)).is_none() {
            self.notes.push(format!("`{path}` (damaged)"));
        }
        if let Ok(log) = self.root.open_file(format!("{path}{LOG_SUFFIX}"))
            && fs::fstat(log.as_fd()).is_ok_and(|stat| stat.size > 0)
        {
            self.notes.push(format!("`{path}{LOG_SUFFIX}` (changes that are not in the database yet)"));
        }
    }

    fn status_d(&mut self) {
        let Ok(fd) = self.root.open_dir(STATUS_D) else { return };
        for entry in fs::read_dir(fd.as_fd()).unwrap_or_default() {
            let path = format!("{STATUS_D}/{}", entry.name.to_string_lossy());
            if !path.ends_with(CHECKSUMS)
                && let Some(bytes) = self.read(&path, MAX_DESCRIPTION)
            {
                dpkg::parse(&bytes, &mut |package| self.take(&path, package));
            }
        }
    }

    fn name_unread(&mut self) {
        let root = self.root;
        let there = UNREAD.iter().filter(|path| root.open_file(path).is_ok());
        self.notes
            .extend(there.map(|path| format!("`{path}` (a form of RPM database that kiln does not read)")));
    }

    /// The packages of languages, which are anywhere.
    fn files(&mut self) {
        let (root, mut notes) = (self.root, Vec::new());
        walk(root, &mut notes, &mut |folder, entry| {
            let path = folder.path.join(&entry.name);
            match described(folder, entry) {
                Ok(packages) => {
                    let path = path.to_string_lossy();
                    let _enough = packages.into_iter().try_for_each(|package| self.take(&path, package));
                }
                Err(error) => self.notes.push(format!("`{}` ({error})", path.display())),
            }
        });
        self.notes.extend(notes);
    }

    /// Takes a package that a file tells of, if it is sound, until there are too many.
    fn take(&mut self, path: &str, package: Package) -> ControlFlow<()> {
        if !package.is_sound() {
            return ControlFlow::Continue(());
        }
        if self.packages.len() >= MAX_PACKAGES {
            self.notes.push(format!("what `{path}` has beyond {MAX_PACKAGES} packages"));
            return ControlFlow::Break(());
        }
        self.packages.insert(Package { found_in: path.to_owned(), ..package });
        ControlFlow::Continue(())
    }
}

/// The packages that a file tells of.
fn described(folder: &Folder<'_>, entry: &Entry) -> kiln_sys::Result<Vec<Package>> {
    let name = entry.name.to_string_lossy();
    let parent = folder.path.file_name().unwrap_or_default().to_string_lossy();
    let of_one = |parse: fn(&[u8]) -> Option<Package>| Ok(parse(&read(folder, entry)?).into_iter().collect());
    match &*name {
        "package.json" if is_node_module(folder.path) => of_one(npm::parse),
        "METADATA" if parent.ends_with(".dist-info") => of_one(pip::parse),
        "PKG-INFO" if parent.ends_with(".egg-info") => of_one(pip::parse),
        _ if name.ends_with(".egg-info") => of_one(pip::parse),
        "Cargo.lock" if !folder.path.to_string_lossy().contains(CARGO_SOURCES) => {
            Ok(cargo::parse_lock(&read(folder, entry)?))
        }
        _ => linked(folder, entry),
    }
}

/// `node_modules/NAME` and `node_modules/@SCOPE/NAME`.
fn is_node_module(folder: &Path) -> bool {
    let mut above = folder.components().rev().skip(1).map(|part| part.as_os_str().to_string_lossy());
    let parent = above.next().unwrap_or_default();
    parent == "node_modules"
        || parent.starts_with('@') && above.next().is_some_and(|name| name == "node_modules")
}

/// What a program says that it was linked of.
fn linked(folder: &Folder<'_>, entry: &Entry) -> kiln_sys::Result<Vec<Package>> {
    const EXECUTABLE: u32 = 0o111;
    if fs::statat(folder.fd, &entry.name)?.permissions() & EXECUTABLE == 0 {
        return Ok(Vec::new());
    }
    let list = auditable::list(&mut open(folder, entry)?);
    Ok(list.map(|list| cargo::parse_list(&list)).unwrap_or_default())
}

fn open(folder: &Folder<'_>, entry: &Entry) -> kiln_sys::Result<File> {
    fs::open_file(folder.fd, &entry.name)
}

/// A file about one package; a longer one is none.
fn read(folder: &Folder<'_>, entry: &Entry) -> kiln_sys::Result<Vec<u8>> {
    let too_long =
        || kiln_sys::Error::new("read", format!("more than {MAX_DESCRIPTION} bytes"), kiln_sys::Errno::FBIG);
    let failed = |error: std::io::Error| {
        let errno = kiln_sys::Errno::from_io_error(&error).unwrap_or(kiln_sys::Errno::IO);
        kiln_sys::Error::new("read", entry.name.to_string_lossy(), errno)
    };
    let mut bytes = Vec::new();
    open(folder, entry)?.take(MAX_DESCRIPTION + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_DESCRIPTION { Err(too_long()) } else { Ok(bytes) }
}
