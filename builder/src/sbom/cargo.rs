//! Rust's packages: a `Cargo.lock`, and what `cargo auditable` puts into programs.

use serde::Deserialize;

use super::{Manager, Package, text};

/// How a package begins in a lock file.
const PACKAGE: &str = "[[package]]";

/// The packages of a `Cargo.lock`: tables of `key = "value"` lines, which cargo writes itself.
pub(super) fn parse_lock(bytes: &[u8]) -> Vec<Package> {
    let file = String::from_utf8_lossy(bytes);
    let mut found = Vec::new();
    for table in file.split(PACKAGE).skip(1) {
        // What follows after the last package is in tables of other names.
        let lines = || table.lines().take_while(|line| !line.starts_with('['));
        let value = |key: &str| {
            let line = lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
            line.and_then(|value| text(value.trim().trim_matches('"')))
        };
        if let (Some(name), Some(version)) = (value("name"), value("version")) {
            found.push(package(name, version));
        }
    }
    found
}

/// What is read of a program's list.
#[derive(Deserialize)]
struct List {
    packages: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    version: String,
    #[serde(default)]
    kind: Option<String>,
}

/// The packages that a program was linked of, from the JSON of its list; what only built it is left out.
pub(super) fn parse_list(json: &[u8]) -> Vec<Package> {
    let list = serde_json::from_slice(json).unwrap_or(List { packages: Vec::new() });
    let is_linked = |listed: &Listed| listed.kind.as_deref() != Some("build");
    list.packages.into_iter().filter(is_linked).map(|listed| package(listed.name, listed.version)).collect()
}

fn package(name: String, version: String) -> Package {
    Package { manager: Manager::Cargo, name, version, ..Package::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &[Package]) -> Vec<String> {
        found.iter().map(|package| format!("{}@{}", package.name, package.version)).collect()
    }

    #[test]
    fn lock_files_and_lists() {
        let lock = "version = 3\n\n[[package]]\nname = \"serde\"\nversion = \"1.0.1\"\nsource = \"registry\"\n\
                    dependencies = [\n \"a\",\n]\n\n[[package]]\nname = \"x\"\nversion = \"0.1.0\"\n\n[metadata]\n\
                    name = \"no\"\n";
        assert_eq!(names(&parse_lock(lock.as_bytes())), ["serde@1.0.1", "x@0.1.0"]);
        let list = r#"{"packages":[{"name":"a","version":"1","source":"local","root":true},
                       {"name":"cc","version":"2","source":"crates.io","kind":"build"}]}"#;
        assert_eq!(names(&parse_list(list.as_bytes())), ["a@1"]);
        assert!(parse_list(b"{}").is_empty());
    }
}
