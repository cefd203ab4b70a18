//! Lists of packages from small trees, honest and hostile.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use kiln_oci::Digest;
use kiln_sys::fs::Root;
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::scan::{Inventory, scan};
use super::*;

/// A filesystem of these files.
fn tree(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let root = Root::open(dir.path()).unwrap();
    (dir, root)
}

fn purls(inventory: &Inventory) -> Vec<String> {
    inventory.packages.iter().map(|package| package.purl(&inventory.distro).to_string()).collect()
}

const DPKG: &[u8] =
    b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u4\n";
const PYTHON: &[u8] = b"Metadata-Version: 2.1\nName: Flask_X\nVersion: 3.0\nLicense: BSD\n";

#[test]
fn every_manager_is_found_where_it_keeps_its_list() {
    let (dir, root) = tree(&[
        ("etc/os-release", b"ID=debian\nVERSION_ID=\"12\"\n"),
        ("var/lib/dpkg/status", DPKG),
        ("var/lib/dpkg/status.d/base", b"Package: base-files\nVersion: 12\n"),
        ("var/lib/dpkg/status.d/base.md5sums", b"Package: no\nVersion: 1\n"),
        ("usr/lib/apk/db/installed", b"P:musl\nV:1.2\nA:x86_64\n"),
        ("app/node_modules/a/package.json", br#"{"name":"a","version":"1"}"#),
        ("app/node_modules/@s/b/package.json", br#"{"name":"@s/b","version":"2"}"#),
        ("app/node_modules/a/test/package.json", br#"{"name":"fixture","version":"1"}"#),
        ("app/package.json", br#"{"name":"not-installed","version":"1"}"#),
        ("usr/lib/python3/Flask_X-3.0.dist-info/METADATA", PYTHON),
        ("src/Cargo.lock", b"[[package]]\nname = \"serde\"\nversion = \"1.0.1\"\n"),
        ("root/.cargo/registry/src/x/Cargo.lock", b"[[package]]\nname = \"no\"\nversion = \"1\"\n"),
        ("bin/program", &auditable::tests::program(r#"{"packages":[{"name":"x","version":"0.1.0"}]}"#)),
        ("bin/no-program", &auditable::tests::program(r#"{"packages":[{"name":"y","version":"0.1.0"}]}"#)),
    ]);
    fs::set_permissions(dir.path().join("bin/program"), fs::Permissions::from_mode(0o755)).unwrap();
    let found = scan(&root).unwrap();
    assert_eq!(
        purls(&found),
        [
            "pkg:deb/debian/base-files@12?distro=debian-12",
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12",
            "pkg:apk/debian/musl@1.2?arch=x86_64&distro=debian-12",
            "pkg:npm/%40s/b@2",
            "pkg:npm/a@1",
            "pkg:pypi/flask-x@3.0",
            "pkg:cargo/serde@1.0.1",
            "pkg:cargo/x@0.1.0",
        ]
    );
    assert_eq!(found.notes, Vec::<String>::new());
    assert_eq!(found.packages[7].found_in, "bin/program");
}

/// A database as RPM has it.
fn rpm_database(path: &Path, headers: &[Vec<u8>]) {
    let db = Connection::open(path).unwrap();
    db.execute_batch("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        .unwrap();
    for header in headers {
        db.execute("INSERT INTO Packages (blob) VALUES (?1)", [header]).unwrap();
    }
    db.close().unwrap();
}

#[test]
fn rpm_packages_of_sqlite_and_forms_that_are_not_read() {
    let (dir, root) = tree(&[("etc/os-release", b"ID=fedora\n"), ("var/lib/rpm/Packages", b"bdb")]);
    let header = rpm::tests::header(&[(1000, "bash"), (1001, "5.1"), (1002, "2"), (1022, "x86_64")], Some(1));
    rpm_database(&dir.path().join("var/lib/rpm/rpmdb.sqlite"), &[header]);
    let found = scan(&root).unwrap();
    assert_eq!(purls(&found), ["pkg:rpm/fedora/bash@5.1-2?arch=x86_64&distro=fedora&epoch=1"]);
    assert_eq!(found.notes, ["`var/lib/rpm/Packages` (a form of RPM database that kiln does not read)"]);
    fs::write(dir.path().join("var/lib/rpm/rpmdb.sqlite"), "no database").unwrap();
    assert!(scan(&root).unwrap().notes[0].contains("damaged"));
}

#[test]
fn links_do_not_lead_out_and_are_not_walked() {
    let (outside, _) =
        tree(&[("status", DPKG), ("node_modules/a/package.json", br#"{"name":"a","version":"1"}"#)]);
    let (dir, root) = tree(&[("usr/lib/apk/db/installed", b"P:musl\nV:1.2\n")]);
    fs::create_dir_all(dir.path().join("var/lib/dpkg")).unwrap();
    symlink(outside.path().join("status"), dir.path().join("var/lib/dpkg/status")).unwrap();
    symlink(outside.path(), dir.path().join("app")).unwrap();
    symlink("usr/lib", dir.path().join("lib")).unwrap();
    let found = scan(&root).unwrap();
    let purls: std::collections::BTreeSet<String> = purls(&found).into_iter().collect();
    assert_eq!(purls.into_iter().collect::<Vec<_>>(), ["pkg:apk/musl@1.2"]);
    assert_eq!(found.packages.len(), 1, "one database by two names: {:?}", found.packages);
}

fn subject() -> spdx::Subject {
    let content = Digest::of(b"layers");
    spdx::Subject {
        name: "app:1".to_owned(),
        purl: None,
        content,
        created: "2026-01-02T03:04:05.678Z".to_owned(),
    }
}

#[test]
fn the_document_has_what_the_specification_requires() {
    let (_dir, root) = tree(&[("var/lib/dpkg/status", DPKG), ("x/y.egg-info/PKG-INFO", PYTHON)]);
    let mut inventory = scan(&root).unwrap();
    inventory.notes.push("`a` (why)".to_owned());
    let document = spdx::document(&subject(), &inventory);
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    assert_eq!(document["dataLicense"], "CC0-1.0");
    assert_eq!(document["creationInfo"]["created"], "2026-01-02T03:04:05Z");
    assert!(document["documentNamespace"].as_str().unwrap().starts_with("https://spdx.org/spdxdocs/kiln-"));
    assert_eq!(document["comment"], "not read: `a` (why)");
    let packages = document["packages"].as_array().unwrap();
    assert_eq!(packages.len(), 3);
    let ids: Vec<&str> = packages.iter().map(|package| package["SPDXID"].as_str().unwrap()).collect();
    for (package, id) in packages.iter().zip(&ids) {
        assert!(
            id.strip_prefix("SPDXRef-")
                .unwrap()
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
        );
        for key in ["name", "downloadLocation", "licenseConcluded", "licenseDeclared", "copyrightText"] {
            assert!(package[key].is_string(), "{key} of {package}");
        }
        assert_eq!(package["filesAnalyzed"], false);
    }
    let licenses = document["hasExtractedLicensingInfos"].as_array().unwrap();
    assert_eq!(licenses[0]["extractedText"], "BSD");
    let declared: Vec<&Value> = packages.iter().map(|package| &package["licenseDeclared"]).collect();
    assert!(declared.contains(&&licenses[0]["licenseId"]), "{declared:?}");
    let relationships = document["relationships"].as_array().unwrap();
    assert_eq!(relationships.len(), 3);
    for relationship in relationships {
        let to = relationship["relatedSpdxElement"].as_str().unwrap();
        assert!(ids.contains(&to), "{relationship}");
    }
    assert_eq!(document, spdx::document(&subject(), &inventory), "the same again");
}

#[test]
fn another_content_is_another_document() {
    let inventory = Inventory::default();
    let other = spdx::Subject { content: Digest::of(b"other"), ..subject() };
    let namespace =
        |subject: &spdx::Subject| spdx::document(subject, &inventory)["documentNamespace"].clone();
    assert_ne!(namespace(&subject()), namespace(&other));
    assert_eq!(spdx::document(&other, &inventory)["comment"], json!(null));
}

/// What a parser hands on.
pub(super) fn all(parse: impl Fn(&[u8], Take<'_>), bytes: &[u8]) -> Vec<Package> {
    let mut found = Vec::new();
    parse(bytes, &mut |package| {
        found.push(package);
        ControlFlow::Continue(())
    });
    found
}

/// A database has room for more packages than memory has.
#[test]
fn a_database_is_read_no_further_than_it_is_wanted() {
    let mut taken = 0;
    let mut three = |_| {
        taken += 1;
        if taken % 3 > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    dpkg::parse("Package: a\nVersion: 1\n\n".repeat(1000).as_bytes(), &mut three);
    apk::parse("P:a\nV:1\n\n".repeat(1000).as_bytes(), &mut three);
    assert_eq!(taken, 6);
    let status: String = (0..=MAX_PACKAGES).map(|at| format!("Package: p{at}\nVersion: 1\n\n")).collect();
    let (_dir, root) = tree(&[("var/lib/dpkg/status", status.as_bytes())]);
    let found = scan(&root).unwrap();
    assert_eq!(found.packages.len(), MAX_PACKAGES);
    assert_eq!(found.notes, ["what `var/lib/dpkg/status` has beyond 200000 packages"]);
}

/// Every parser on the same bytes.
fn parse_all(bytes: &[u8]) {
    drop(all(dpkg::parse, bytes));
    drop(all(apk::parse, bytes));
    drop(all(|bytes, take| rpm::parse(bytes, take).unwrap_or_default(), bytes));
    drop(rpm::package(bytes));
    drop(npm::parse(bytes));
    drop(pip::parse(bytes));
    drop(cargo::parse_lock(bytes));
    drop(cargo::parse_list(bytes));
    drop(Distro::parse(bytes));
    let mut extracted = license::Extracted::new();
    drop(license::expression(&String::from_utf8_lossy(bytes), &mut extracted));
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    drop(auditable::list(&mut file));
}

/// A file that some parser reads, to be damaged.
fn sound_files() -> &'static [Vec<u8>] {
    static FILES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    FILES.get_or_init(make_sound_files)
}

fn make_sound_files() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rpmdb.sqlite");
    let header = rpm::tests::header(&[(1000, "bash"), (1001, "5.1"), (1002, "2")], None);
    rpm_database(&path, &[header.clone(), vec![7; 20_000]]);
    let program = auditable::tests::program(r#"{"packages":[{"name":"x","version":"1"}]}"#);
    vec![fs::read(path).unwrap(), header, program, DPKG.to_vec(), PYTHON.to_vec(), b"P:a\nV:1\n".to_vec()]
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        parse_all(&bytes);
    }

    #[test]
    fn no_damage_makes_a_parser_panic(
        which in 0..6usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = sound_files()[which].clone();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        parse_all(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        parse_all(&bytes);
    }

    #[test]
    fn every_text_becomes_a_licence_that_can_be_written(text in ".{0,60}") {
        let mut extracted = license::Extracted::new();
        let expression = license::expression(&text, &mut extracted);
        let is_fine = |c: char| c.is_ascii_alphanumeric() || " .-+()".contains(c);
        prop_assert!(!expression.is_empty() && expression.chars().all(is_fine), "{expression}");
    }
}
