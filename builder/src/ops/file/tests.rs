//! Copies between two folders, as data: what is there, what is asked for, what is there afterwards.

use std::ffi::{CString, OsStr};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kiln_cache::{Store, StoreOptions};
use kiln_graph::{ChmodSpec, CopyAction, Owner};
use kiln_oci::Digest;
use kiln_oci::compression::{GzipWriter, ZstdWriter};
use kiln_snapshot::copy::CopyOptions;
use kiln_snapshot::{
    ApplyOptions, Change, ChangeKind, Draft, Metadata, Node, Recipe, Shape, TarOptions, apply, diff_trees,
    write_tar,
};
use kiln_sys::fs::{self, Root, xattr};
use tempfile::TempDir;

use super::describe::{Drafting, has_holes};
use super::{copy, remove, taken};
use crate::context::LocalFiles;
use crate::error::Cause;
use crate::index::Index;
use crate::select::{self, Source};

/// A source, a target, and beside them something that must never change.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        for name in ["from", "to", "canary"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("canary/file"), "untouched").unwrap();
        Bench { dir }
    }

    /// With these files in the source; a final slash makes a directory.
    fn with(files: &[&str]) -> Bench {
        let bench = Bench::new();
        files.iter().for_each(|file| bench.write(file, file));
        bench
    }

    fn from(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join("from").join(path)
    }

    fn to(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join("to").join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let full = self.from(path);
        if path.ends_with('/') {
            return std::fs::create_dir_all(full).unwrap();
        }
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(full, text).unwrap();
    }

    fn target(&self) -> Root {
        Root::open(&self.to("")).unwrap()
    }

    /// Copies as from a stage or an image.
    fn copy(&self, action: &CopyAction) -> Result<(), Cause> {
        let root = Root::open(&self.from("")).unwrap();
        self.copy_both_ways(Source { root: &root, files: None }, action)
    }

    fn copy_context(&self, action: &CopyAction) -> Result<(), Cause> {
        let files = LocalFiles::open("context", &self.from(""), &[], None).unwrap();
        self.copy_both_ways(Source { root: &files.root, files: Some(&files) }, action)
    }

    /// Copies into the target, and holds what a description of the same copy unpacks to against it.
    fn copy_both_ways(&self, source: Source<'_>, action: &CopyAction) -> Result<(), Cause> {
        let described = tempfile::tempdir().unwrap();
        let (before, here) = (Root::open(described.path()).unwrap(), Path::new("."));
        kiln_snapshot::copy::copy(&self.target(), here, &before, here, &CopyOptions::exact()).unwrap();
        let recipe = describe(&self.target(), source, action);
        // A context is listed for its key.
        let listing = source.files.map(|_| select::find(source, action)).transpose();
        let copied = listing.and_then(|found| copy::copy(source, action, found.as_deref(), &self.target()));
        match recipe {
            // Archives and files with holes take files.
            Ok(None) => assert!(action.unpack || takes_holes(source, action)),
            Err(error) => assert!(copied.is_err(), "only the description fails: {error}"),
            Ok(Some(recipe)) => {
                copied.as_ref().unwrap_or_else(|error| panic!("only the copy fails: {error}"));
                let mut tar = Vec::new();
                recipe.write(&mut tar, &TarOptions::default()).unwrap();
                apply(tar.as_slice(), &before, &ApplyOptions::default()).unwrap();
                assert_eq!(look(&before), look(&self.target()));
            }
        }
        copied
    }

    fn key(&self, action: &CopyAction) -> Digest {
        let root = Root::open(&self.from("")).unwrap();
        let source = Source { root: &root, files: None };
        select::read(source, action, &mut select::list(source, action).unwrap()).unwrap()
    }

    /// The files in the target, sorted.
    fn landed(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.to(""), &mut |path| found.push(path.to_str().unwrap().to_owned()));
        found.sort();
        found
    }

    #[track_caller]
    fn check_canary(&self) {
        let mut found = Vec::new();
        walk(&self.dir.path().join("canary"), &mut |path| found.push(path.to_owned()));
        assert_eq!(found, [Path::new("file")]);
        assert_eq!(std::fs::read_to_string(self.dir.path().join("canary/file")).unwrap(), "untouched");
    }
}

fn describe(target: &Root, source: Source<'_>, action: &CopyAction) -> Result<Option<Recipe>, Cause> {
    let draft = Draft::on(Shape::of(Some(target)).unwrap());
    let mut drafting = Drafting { accounts: Some(target), draft };
    let done = drafting.copy(source, action, None)?;
    Ok(done.then(|| drafting.draft.finish()))
}

fn takes_holes(source: Source<'_>, action: &CopyAction) -> bool {
    select::find(source, action).unwrap().iter().flat_map(|found| found.listing.stats()).any(has_holes)
}

fn content_of(root: &Root, path: &[u8]) -> String {
    let mut bytes = Vec::new();
    root.open_file(OsStr::from_bytes(path)).unwrap().read_to_end(&mut bytes).unwrap();
    Digest::of(&bytes).to_string()
}

/// Everything in a tree: path, kind, permissions, owner, content or link, and the times of files.
fn look(root: &Root) -> Vec<String> {
    let line = |change: Change| {
        let ChangeKind::Put(put) = change.kind else { unreachable!("nothing is deleted of a whole tree") };
        let Metadata { node, stat, xattrs } = *put;
        let path = change.path.escape_ascii().to_string();
        let content = match &node {
            Node::File => content_of(root, &change.path),
            _ => String::new(),
        };
        let time = if stat.is_dir() { 0 } else { stat.mtime.seconds };
        format!("{path} {node:?} {:o} {}:{} {time} {xattrs:?} {content}", stat.mode, stat.uid, stat.gid)
    };
    diff_trees(None, root).unwrap().into_iter().map(line).collect()
}

fn walk(root: &Path, see: &mut dyn FnMut(&Path)) {
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            match path.symlink_metadata().unwrap().is_dir() {
                true => todo.push(path),
                false => see(path.strip_prefix(root).unwrap()),
            }
        }
    }
}

fn action(paths: &[&str], dest: &str) -> CopyAction {
    CopyAction::new(paths.iter().map(|path| (*path).to_owned()).collect(), dest)
}

fn ids(path: &Path) -> (u32, u32) {
    let stat = path.symlink_metadata().unwrap();
    (stat.uid(), stat.gid())
}

/// Item 75 of the language: the pivot, `**`, and which paths must exist.
#[test]
fn parents_are_kept_from_the_pivot_on() {
    let files =
        ["a/b/c/d/foo", "a/b/c/d/e/bay", "a/b2/c/d/e/bar", "a/b/c2/d/e/baz", "a/b/c2/d/e2/baz", "x/y/1.txt"];
    let cases: &[(&[&str], &[&str])] = &[
        (&["/a/b/./c/d"], &["out/c/d/e/bay", "out/c/d/foo"]),
        (&["/a/b/c/d/foo"], &["out/a/b/c/d/foo"]),
        (&["/a/./b/c"], &["out/b/c/d/e/bay", "out/b/c/d/foo"]),
        (&["/a/./*/c"], &["out/b/c/d/e/bay", "out/b/c/d/foo", "out/b2/c/d/e/bar"]),
        (&["/a/b*/./c/**/e"], &["out/c/d/e/bar", "out/c/d/e/bay"]),
        (&["/a/b/c*/./d/**/baz", "/a/b*/./c/**/bar"], &["out/c/d/e/bar", "out/d/e/baz", "out/d/e2/baz"]),
        (&["/x/./"], &["out/y/1.txt"]),
        (&["/**/*.txt"], &["out/x/y/1.txt"]),
        (&["/none*/x"], &[]),
        (&["/../x/./../x/y"], &[]),
    ];
    for (paths, expected) in cases {
        let bench = Bench::with(&files);
        let copied = bench.copy(&CopyAction { parents: true, ..action(paths, "/out/") });
        if !expected.is_empty() || paths[0].starts_with("/none") {
            copied.unwrap_or_else(|error| panic!("{paths:?}: {error}"));
        }
        assert_eq!(bench.landed(), *expected, "{paths:?}");
    }
    let bench = Bench::with(&files);
    let error =
        |path| bench.copy(&CopyAction { parents: true, ..action(&[path], "/out/") }).unwrap_err().to_string();
    assert_eq!(error("/a/none"), "`/a/none` is not in the filesystem that is copied from");
    assert!(error("/a/./none").contains("/a/./none"));
    assert!(error("/x/y/1.txt/./z*").contains("no directory"));
}

#[test]
fn parents_bring_their_metadata_and_nothing_beside_them() {
    let bench = Bench::with(&["a/b/file", "a/other"]);
    std::fs::set_permissions(bench.from("a"), PermissionsExt::from_mode(0o711)).unwrap();
    chown(bench.from("a/b"), Some(7), Some(8)).unwrap();
    bench.copy(&CopyAction { parents: true, ..action(&["/a/b/file"], "/out") }).unwrap();
    assert_eq!(bench.landed(), ["out/a/b/file"]);
    assert_eq!(bench.to("out/a").metadata().unwrap().mode() & 0o7777, 0o711);
    assert_eq!(ids(&bench.to("out/a/b")), (7, 8));
}

/// Item 76: patterns are relative to what is copied; a file that is named is told by its own name.
#[test]
fn what_is_excluded_is_left_out() {
    let files = ["d/a.txt", "d/b.md", "d/s/c.txt", "home.txt", "home.md", "homely/x.txt", "homely/y.md"];
    let cases: &[(&[&str], &str, &[&str])] = &[
        (&["*.txt"], "/d", &["out/b.md", "out/s/c.txt"]),
        (&["**/*.txt"], "/d", &["out/b.md"]),
        (&["s"], "/d", &["out/a.txt", "out/b.md"]),
        (&["*", "!b.md"], "/d", &["out/b.md"]),
        (&["s", "!s/c.txt"], "/d", &["out/a.txt", "out/b.md", "out/s/c.txt"]),
        (&["*.txt"], "/hom*", &["out/home.md", "out/y.md"]),
        (&["*.txt", "*.md"], "/hom*", &[]),
        (&["home.md"], "/home.md", &[]),
    ];
    for (exclude, path, expected) in cases {
        let bench = Bench::with(&files);
        let exclude: Vec<String> = exclude.iter().map(|text| (*text).to_owned()).collect();
        bench.copy(&CopyAction { exclude: exclude.clone(), ..action(&[path], "/out/") }).unwrap();
        assert_eq!(bench.landed(), *expected, "{exclude:?} of {path}");
    }
}

/// Items 54, 70 and 83: a context's files are root's, a stage's keep their owners, `--chown` decides over both.
#[test]
fn owners() {
    let bench = || {
        let bench = Bench::with(&["file", "dir/sub/nested"]);
        for (path, id) in [("file", 100), ("dir", 101), ("dir/sub", 102), ("dir/sub/nested", 103)] {
            chown(bench.from(path), Some(id), Some(id + 100)).unwrap();
        }
        std::fs::create_dir(bench.to("there")).unwrap();
        chown(bench.to("there"), Some(500), Some(600)).unwrap();
        bench
    };
    let copies = [action(&["/file"], "/new/file"), action(&["/dir"], "/dir"), action(&["/dir"], "/there")];
    let owner = Owner::parse("300:400");
    let found = |bench: &Bench| {
        ["new", "new/file", "dir", "dir/sub", "dir/sub/nested", "there", "there/sub"]
            .map(|path| ids(&bench.to(path)))
    };
    let (root, set) = ((0, 0), (300, 400));
    let stage = bench();
    copies.iter().for_each(|copy| stage.copy(copy).unwrap());
    assert_eq!(found(&stage), [root, (100, 200), root, (102, 202), (103, 203), (500, 600), (102, 202)]);
    let context = bench();
    copies.iter().for_each(|copy| context.copy_context(copy).unwrap());
    assert_eq!(found(&context), [root, root, root, root, root, (500, 600), root]);
    let chowned = bench();
    for copy in &copies {
        chowned.copy(&CopyAction { owner: owner.clone(), ..copy.clone() }).unwrap();
    }
    assert_eq!(found(&chowned), [set, set, set, set, set, (500, 600), set]);
}

#[test]
fn several_files_need_a_directory() {
    let bench = Bench::with(&["a", "b"]);
    let error = bench.copy(&action(&["/a", "/b"], "/d")).unwrap_err().to_string();
    assert_eq!(error, "2 sources but the destination `/d` is no directory and does not end with `/`");
    std::fs::create_dir(bench.to("d")).unwrap();
    bench.copy(&action(&["/a", "/b"], "/d")).unwrap();
    bench.copy(&action(&["/*"], "/e/")).unwrap();
    assert_eq!(bench.landed(), ["d/a", "d/b", "e/a", "e/b"]);
}

/// Items 62 to 70, with B31: where paths lead and what may be there.
#[test]
fn paths_stay_inside_and_kinds_are_not_mixed() {
    let bench = Bench::with(&["file", "dir/inner"]);
    let canary = bench.dir.path().join("canary");
    symlink(&canary, bench.from("out")).unwrap();
    symlink("../../../../canary/file", bench.from("up")).unwrap();
    symlink("/dir", bench.from("link")).unwrap();
    symlink(&canary, bench.to("leads-out")).unwrap();
    bench.copy(&action(&["/../../file"], "/../../inside")).unwrap();
    bench.copy(&action(&["/link"], "/followed/")).unwrap();
    bench.copy(&action(&["/file"], "/leads-out/x")).unwrap();
    for path in ["/out/file", "/out", "/up"] {
        let error = bench.copy(&action(&[path], "/d/")).unwrap_err().to_string();
        assert!(error.contains(path), "{error}");
    }
    assert!(bench.copy(&action(&["/["], "/d/")).unwrap_err().to_string().contains("not a pattern"));
    let inside = canary.strip_prefix("/").unwrap().join("x");
    assert!(bench.to(&inside).is_file());
    assert!(bench.to("inside").is_file() && bench.to("followed/inner").is_file());
    bench.check_canary();

    let bench = Bench::with(&["file", "dir/inner/x"]);
    std::fs::write(bench.to("plain"), "there").unwrap();
    std::fs::create_dir_all(bench.to("full/inner")).unwrap();
    std::fs::write(bench.to("full/file"), "there").unwrap();
    std::fs::create_dir_all(bench.to("other/file")).unwrap();
    let error = |from, to| bench.copy(&action(&[from], to)).unwrap_err().to_string();
    assert_eq!(error("/dir", "/plain"), "cannot copy directory `dir` over file `plain`");
    assert!(error("/file", "/plain/").contains("plain"));
    assert_eq!(error("/file", "/other"), "cannot copy file `file` over directory `other/file`");
    bench.copy(&action(&["/dir"], "/full")).unwrap();
    symlink("../full", bench.to("other/linked")).unwrap();
    bench.write("linked", "replaces the link");
    bench.copy(&action(&["/linked"], "/other/")).unwrap();
    assert!(bench.to("other/linked").symlink_metadata().unwrap().is_file());
    assert_eq!(bench.landed(), ["full/file", "full/inner/x", "other/linked", "plain"]);
}

#[test]
fn odd_names_are_only_bytes() {
    let long = vec![b'l'; 255];
    let names: [&[u8]; 9] =
        [b"new\nline", b"\xff\xfe", b"-rf", b"back\\slash", b"#hash", b"!bang", b"sp ace", b"\x1b[2J", &long];
    let bench = Bench::new();
    for name in names {
        std::fs::write(bench.from(OsStr::from_bytes(name)), name).unwrap();
    }
    bench.copy_context(&action(&["/"], "/all")).unwrap();
    for name in names {
        assert_eq!(std::fs::read(bench.to("all").join(OsStr::from_bytes(name))).unwrap(), name);
    }
    for name in ["#hash", "!bang", "-rf", "new\nline"] {
        bench.copy_context(&action(&[&format!("/{name}")], "/one/")).unwrap();
        assert!(bench.to("one").join(name).is_file(), "{name}");
    }
}

#[test]
fn every_kind_of_file() {
    let bench = Bench::with(&["d/file"]);
    std::fs::hard_link(bench.from("d/file"), bench.from("d/again")).unwrap();
    symlink("nowhere", bench.from("d/link")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(bench.from("d/socket")).unwrap();
    let sparse = std::fs::File::create(bench.from("d/sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    let dir = Root::open(&bench.from("d")).unwrap();
    fs::mknodat(dir.as_fd(), "fifo", 0o010_640, 0).unwrap();
    fs::mknodat(dir.as_fd(), "null", 0o020_666, fs::makedev(1, 3)).unwrap();
    xattr::set(dir.as_fd(), "file", OsStr::new("user.note"), b"kept").unwrap();
    bench.copy(&action(&["/d"], "/d")).unwrap();
    drop(socket);
    assert_eq!(bench.landed(), ["d/again", "d/fifo", "d/file", "d/link", "d/null", "d/sparse"]);
    assert_eq!(bench.to("d/file").metadata().unwrap().nlink(), 2);
    let sparse = bench.to("d/sparse").metadata().unwrap();
    assert_eq!(sparse.len(), 8 << 20);
    assert!(sparse.blocks() * 512 < 1 << 20, "holes became {} bytes", sparse.blocks() * 512);
    let target = Root::open(&bench.to("d")).unwrap();
    assert_eq!(xattr::get(target.as_fd(), "file", OsStr::new("user.note")).unwrap().unwrap(), b"kept");
    // Without holes it is described.
    std::fs::remove_file(bench.from("d/sparse")).unwrap();
    bench.copy(&action(&["/d"], "/described")).unwrap();
    assert_eq!(bench.to("described/file").metadata().unwrap().nlink(), 2);

    fs::mknodat(dir.as_fd(), "hole", 0o020_666, 0).unwrap();
    let error = bench.copy(&action(&["/d"], "/e")).unwrap_err().to_string();
    assert_eq!(error, "`d/hole` cannot be in a layer: a character device 0:0 means a deletion");
}

#[test]
fn modes_by_number_and_by_letter() {
    for (text, file, program, dir) in [
        ("0640", 0o640, 0o640, 0o640),
        ("u=rwX,go=rX", 0o644, 0o755, 0o755),
        ("go-rwx", 0o600, 0o700, 0o700),
        ("g=u", 0o664, 0o775, 0o775),
        ("+s", 0o6644, 0o6755, 0o6755),
    ] {
        let bench = Bench::with(&["d/file", "d/program", "d/sub/"]);
        for (path, mode) in [("d/file", 0o644), ("d/program", 0o755), ("d/sub", 0o755)] {
            std::fs::set_permissions(bench.from(path), PermissionsExt::from_mode(mode)).unwrap();
        }
        bench
            .copy(&CopyAction { mode: Some(ChmodSpec::parse(text).unwrap()), ..action(&["/d"], "/d") })
            .unwrap();
        let mode = |path: &str| bench.to(path).metadata().unwrap().mode() & 0o7777;
        assert_eq!((mode("d/file"), mode("d/program"), mode("d/sub")), (file, program, dir), "{text}");
        // The copied folder itself is made, not copied: only a number is its mode.
        assert_eq!(mode("d"), if text == "0640" { 0o640 } else { 0o755 }, "{text}");
    }
}

/// Item 84: what is copied is the key, and neither when it was written nor where it was.
#[test]
fn a_key_is_the_content() {
    let bench = Bench::with(&["d/file", "d/sub/x"]);
    symlink("file", bench.from("d/link")).unwrap();
    let copy = action(&["/d"], "/dest");
    let first = bench.key(&copy);
    let touched = std::fs::File::options().append(true).open(bench.from("d/file")).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(bench.key(&copy), first);
    std::fs::create_dir(bench.from("deep")).unwrap();
    std::fs::rename(bench.from("d"), bench.from("deep/d")).unwrap();
    assert_eq!(bench.key(&action(&["/deep/d"], "/dest")), first);
    let named = bench.key(&action(&["/deep/d/file"], "/dest/"));
    std::fs::rename(bench.from("deep/d"), bench.from("d")).unwrap();
    assert_eq!(bench.key(&action(&["/d/file"], "/dest/")), named);

    let set_note = || {
        let dir = Root::open(&bench.from("d")).unwrap();
        xattr::set(dir.as_fd(), "file", OsStr::new("user.note"), b"x").unwrap();
    };
    let relink = || {
        std::fs::remove_file(bench.from("d/link")).unwrap();
        symlink("sub", bench.from("d/link")).unwrap();
    };
    let steps: [&dyn Fn(); 6] = [
        &|| bench.write("d/file", "changed"),
        &|| std::fs::set_permissions(bench.from("d/file"), PermissionsExt::from_mode(0o600)).unwrap(),
        &|| chown(bench.from("d/file"), Some(1), None).unwrap(),
        &relink,
        &set_note,
        &|| std::fs::rename(bench.from("d/sub/x"), bench.from("d/sub/y")).unwrap(),
    ];
    let mut seen = vec![first];
    for (number, step) in steps.iter().enumerate() {
        step();
        let key = bench.key(&copy);
        assert!(!seen.contains(&key), "step {number} changes nothing");
        seen.push(key);
    }
    let owned = CopyAction { owner: Owner::parse("5"), ..copy };
    let key = bench.key(&owned);
    chown(bench.from("d/file"), Some(2), None).unwrap();
    assert_eq!(bench.key(&owned), key, "an owner that is not kept does not count");
}

#[test]
fn holes_stay_holes_in_a_directory_and_are_not_described() {
    let bench = Bench::new();
    std::fs::File::create(bench.from("holes")).unwrap().set_len(64 << 20).unwrap();
    let action = action(&["/holes"], "/holes");
    let root = Root::open(&bench.from("")).unwrap();
    assert!(describe(&bench.target(), Source { root: &root, files: None }, &action).unwrap().is_none());
    for copy in [Bench::copy, Bench::copy_context] {
        copy(&bench, &action).unwrap();
        let copied = bench.to("holes").metadata().unwrap();
        assert_eq!(copied.len(), 64 << 20);
        assert!(copied.blocks() * 512 < 1 << 20, "{} blocks", copied.blocks());
    }
}

/// What was listed of a context is in a key, which would be the key of other files.
#[test]
fn a_file_that_is_edited_after_it_was_listed_is_refused() {
    let packed = Bench::with(&["top/file"]);
    let (tar, plain) = (pack(&packed.from("")), b"some text".to_vec());
    let other_tar = [&tar[..tar.len() - 1024], &pack(&packed.from("top"))].concat();
    let cases = [
        (plain.clone(), b"same size".to_vec()),
        (plain.clone(), b"longer than before".to_vec()),
        (plain, tar.clone()),
        (tar.clone(), other_tar),
        (tar.clone(), tar[..700].to_vec()),
        (tar.clone(), [&tar[..], &[0; 512]].concat()),
        (tar, b"no archive".to_vec()),
    ];
    for (number, (before, after)) in cases.into_iter().enumerate() {
        let bench = Bench::with(&["dir/beside"]);
        std::fs::write(bench.from("dir/file"), &before).unwrap();
        let files = LocalFiles::open("context", &bench.from(""), &[], None).unwrap();
        let source = Source { root: &files.root, files: Some(&files) };
        let add = CopyAction { unpack: true, ..action(&["/dir/file", "/dir"], "/to/") };
        let found = select::find(source, &add).unwrap();
        std::fs::write(bench.from("dir/file"), &after).unwrap();
        // Only the bytes can tell.
        let time = found[0].listing.stats().next().unwrap().mtime;
        let edited = std::fs::File::open(bench.from("dir/file")).unwrap();
        fs::futimens(edited.as_fd(), None, Some(time)).unwrap();
        let error = copy::copy(source, &add, Some(&found), &bench.target()).unwrap_err();
        assert_eq!(error.to_string(), "`dir/file` changed while it was read", "case {number}");
    }
}

/// A link that is taken itself counts as one, and not as what it leads to.
#[test]
fn a_link_that_is_not_followed_is_its_text() {
    let bench = Bench::with(&["a", "b"]);
    let copy = CopyAction { follow_symlinks: false, ..action(&["/link"], "/copied") };
    let key = |text: &str| {
        let _ = std::fs::remove_file(bench.from("link"));
        symlink(text, bench.from("link")).unwrap();
        bench.key(&copy)
    };
    let first = key("a");
    bench.write("a", "changed");
    assert_eq!(key("a"), first);
    assert_ne!(key("./a"), first);
    bench.copy_context(&copy).unwrap();
    assert_eq!(std::fs::read_link(bench.to("copied")).unwrap(), Path::new("./a"));
}

/// B12: a removal never leaves the filesystem, and the root itself stays.
#[test]
fn removals_are_confined() {
    let bench = Bench::new();
    symlink(bench.dir.path().join("canary"), bench.to("link")).unwrap();
    std::fs::create_dir(bench.to("a")).unwrap();
    for path in
        ["../../canary/file", "/../canary", "a/../../../canary/file", "/link/file", "/link/*", "/../*/file"]
    {
        let _ = remove(&bench.target(), path, true, true);
        bench.check_canary();
    }
    for path in ["/", "..", "a/..", "."] {
        assert!(remove(&bench.target(), path, false, true).is_err(), "{path}");
    }
    assert!(bench.to("a").is_dir());
    remove(&bench.target(), "/link", false, false).unwrap();
    assert!(bench.to("link").symlink_metadata().is_err());
    bench.check_canary();
}

/// The tar of a folder.
fn pack(dir: &Path) -> Vec<u8> {
    let root = Root::open(dir).unwrap();
    let mut tar = Vec::new();
    write_tar(&diff_trees(None, &root).unwrap(), &root, &mut tar, &TarOptions::default()).unwrap();
    tar
}

fn compressions(tar: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut gzip = GzipWriter::at_level(Vec::new(), 6);
    gzip.write_all(tar).unwrap();
    let mut zstd = ZstdWriter::at_level(Vec::new(), 3).unwrap();
    zstd.write_all(tar).unwrap();
    let mut bzip2 = Vec::new();
    bzip2::bufread::BzEncoder::new(tar, bzip2::Compression::fast()).read_to_end(&mut bzip2).unwrap();
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(0)).unwrap();
    xz.write_all(tar).unwrap();
    vec![
        ("tar", tar.to_vec()),
        ("gzip", gzip.finish().unwrap()),
        ("zstd", zstd.finish().unwrap()),
        ("bzip2", bzip2),
        ("xz", xz.finish().unwrap()),
    ]
}

/// Item 77: told by content, whatever it is called.
#[test]
fn archives_are_unpacked() {
    let packed = Bench::with(&["top/file"]);
    chown(packed.from("top/file"), Some(7), Some(8)).unwrap();
    for (format, bytes) in compressions(&pack(&packed.from(""))) {
        let bench = Bench::new();
        std::fs::write(bench.from("no-suffix"), &bytes).unwrap();
        let add = CopyAction { unpack: true, ..action(&["/no-suffix"], "/deep/dest") };
        bench.copy_context(&add).unwrap_or_else(|error| panic!("{format}: {error}"));
        assert_eq!(bench.landed(), ["deep/dest/top/file"], "{format}");
        assert_eq!(ids(&bench.to("deep/dest/top/file")), (7, 8), "{format}");
        bench
            .copy_context(&CopyAction { owner: Owner::parse("3:4"), dest: "/owned".to_owned(), ..add })
            .unwrap();
        for path in ["owned", "owned/top", "owned/top/file"] {
            assert_eq!(ids(&bench.to(path)), (3, 4), "{format}: {path}");
        }
        bench.copy_context(&action(&["/no-suffix"], "/kept/")).unwrap();
        assert_eq!(std::fs::read(bench.to("kept/no-suffix")).unwrap(), bytes, "{format}");
    }
}

/// A link to an archive is followed before anybody looks at what it is, as in BuildKit.
#[test]
fn a_link_to_an_archive_is_unpacked() {
    let packed = Bench::with(&["top/file"]);
    let bench = Bench::new();
    std::fs::write(bench.from("real"), pack(&packed.from(""))).unwrap();
    symlink("real", bench.from("link")).unwrap();
    symlink("/link", bench.from("link-to-link")).unwrap();
    for (path, dest) in [("/link", "/one"), ("/link-to-*", "/two")] {
        bench.copy_context(&CopyAction { unpack: true, ..action(&[path], dest) }).unwrap();
    }
    assert_eq!(bench.landed(), ["one/top/file", "two/top/file"]);
}

/// A tar of one entry, with a header made by hand.
fn entry(kind: u8, name: &str, link: &str, data: &[u8]) -> Vec<u8> {
    let mut block = vec![0u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    for (at, text) in [(100, "0000644"), (108, "0000000"), (116, "0000000"), (136, "00000000000")] {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(&CString::new(format!("{sum:06o}")).unwrap().into_bytes_with_nul());
    block.extend_from_slice(data);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

/// U04, U08, U19 and U26 for `ADD`.
#[test]
fn hostile_archives_are_confined() {
    let bench = Bench::new();
    let canary = bench.dir.path().join("canary");
    let outside = canary.to_str().unwrap();
    std::fs::create_dir(bench.to("victim")).unwrap();
    std::fs::write(bench.to("victim/file"), "lower").unwrap();
    symlink(outside, bench.to("app")).unwrap();
    let add = |tar: Vec<u8>, dest: &str| {
        std::fs::write(bench.from("evil"), [tar, vec![0; 1024]].concat()).unwrap();
        bench.copy_context(&CopyAction { unpack: true, ..action(&["/evil"], dest) })
    };
    let link_then = |name: &str| [entry(b'2', "l", outside, b""), entry(b'0', name, "", b"evil")].concat();
    for tar in [
        link_then("l/file"),
        link_then("l"),
        entry(b'0', "../canary/file", "", b"evil"),
        entry(b'1', "h", &format!("{outside}/file"), b""),
        entry(b'0', ".wh.victim", "", b""),
        entry(b'0', "victim/.wh..wh..opq", "", b""),
        entry(b'0', ".wh..wh.plnk/1", "", b"x"),
    ] {
        let _ = add(tar, "/");
        bench.check_canary();
        assert_eq!(std::fs::read_to_string(bench.to("victim/file")).unwrap(), "lower");
    }
    let error = add(entry(b'0', ".wh.victim", "", b""), "/").unwrap_err().to_string();
    let expected = "unpack `evil`: tar entry 1 (`.wh.victim`): names that start with `.wh.` mean deletions";
    assert_eq!(error, expected);
    add(entry(b'0', "x", "", b"inside"), "/app").unwrap();
    assert!(bench.to(canary.strip_prefix("/").unwrap()).join("x").is_file());
    bench.check_canary();
}

#[test]
fn a_bomb_is_stopped_by_name() {
    let bench = Bench::new();
    let (header, zeros) = (&entry(b'0', "zeros", "", b"")[..512], vec![0u8; 1 << 20]);
    let mut header = header.to_vec();
    header[124..135].copy_from_slice(format!("{:011o}", 200u64 << 20).as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut bomb = ZstdWriter::at_level(std::fs::File::create(bench.from("bomb")).unwrap(), 3).unwrap();
    bomb.write_all(&header).unwrap();
    (0..200).for_each(|_| bomb.write_all(&zeros).unwrap());
    bomb.finish().unwrap();
    let add = CopyAction { unpack: true, ..action(&["/bomb"], "/") };
    let error = bench.copy_context(&add).unwrap_err().to_string();
    assert!(error.starts_with("unpack `bomb`: ") && error.contains("decompression limit reached"), "{error}");
    let written = bench.to("zeros").metadata().map_or(0, |zeros| zeros.blocks() * 512);
    assert!(written < 80 << 20, "{written} bytes were written");
}

/// A tree whose metadata is what it was is known without a look at its files.
#[test]
fn an_unchanged_context_is_not_read() {
    let bench = Bench::with(&["a/one", "a/two", "b"]);
    let store = Arc::new(Store::open(&bench.dir.path().join("state"), &StoreOptions::default()).unwrap());
    // The digest, and whether the files were read for it.
    let key = |paths: &[&str]| {
        // Long enough after the files were written that their times are trusted.
        std::thread::sleep(Duration::from_millis(60));
        let index = Index::load(&store, &bench.from(""));
        let files = LocalFiles::open("context", &bench.from(""), &[], Some(Arc::new(index))).unwrap();
        let source = Source { root: &files.root, files: Some(&files) };
        let (digest, found) = taken(source, &action(paths, "/")).unwrap();
        (digest, found.iter().any(|one| one.listing.entries().any(|entry| entry.content.is_some())))
    };
    let (first, read) = key(&["."]);
    assert!(read);
    assert_eq!(key(&["."]), (first.clone(), false));
    assert!(key(&["a"]).1, "another copy takes other files");
    assert_eq!(key(&["."]), (first.clone(), false), "and does not take the place of the first");
    let touched = std::fs::File::options().append(true).open(bench.from("b")).unwrap();
    touched.set_modified(std::time::SystemTime::now()).unwrap();
    assert_eq!(key(&["."]), (first.clone(), true), "times are no part of the digest");
    xattr::set(Root::open(&bench.from("")).unwrap().as_fd(), "b", OsStr::new("user.kiln"), b"x").unwrap();
    let (second, read) = key(&["."]);
    assert!(read && second != first, "an attribute is content");
    bench.write("b", "B");
    assert_ne!(key(&["."]).0, second);
}
