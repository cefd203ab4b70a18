//! `docs/language.md` names a test for each of the language's hundred points: the table is whole and the tests exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Points that no test can show, as kiln has nothing of the kind.
const WITHOUT_TEST: [usize; 1] = [99];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Number and names of tests of each row.
fn rows() -> Vec<(usize, Vec<String>)> {
    let text = fs::read_to_string(root().join("docs/language.md")).unwrap();
    let row = |line: &str| {
        let columns: Vec<&str> = line.strip_prefix("| ")?.split(" | ").collect();
        let number = columns.first()?.parse().ok()?;
        let names = columns.get(2)?.split('`').skip(1).step_by(2);
        Some((number, names.map(str::to_owned).collect()))
    };
    text.lines().filter_map(row).collect()
}

/// Every name that a test can have.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for case in fs::read_dir(root().join("testdata/dockerfiles")).unwrap() {
        found.insert(case.unwrap().file_name().into_string().unwrap());
    }
    for topic in fs::read_dir(root().join("testdata/conformance")).unwrap() {
        conformance(&topic.unwrap().path(), &mut found);
    }
    for part in fs::read_dir(root()).unwrap() {
        for folder in ["src", "tests"] {
            functions(&part.as_ref().unwrap().path().join(folder), &mut found);
        }
    }
    found
}

fn conformance(path: &Path, found: &mut BTreeSet<String>) {
    if path.extension().is_none_or(|extension| extension != "toml") {
        return;
    }
    let topic = path.file_stem().unwrap().to_str().unwrap();
    let names = fs::read_to_string(path).unwrap();
    let names = names.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    found.extend(names.map(|name| format!("{topic}/{name}")));
}

/// Functions below a folder that are marked as tests, or made as such by a macro of proptest.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.extend(marked(&text));
        }
    }
}

fn marked(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        }
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if let Some(name) = function.and_then(|line| line.split('(').next()).filter(|_| is_test) {
            names.push(name.to_owned());
            is_test = false;
        }
    }
    names
}

#[test]
fn every_point_has_tests_that_exist() {
    let (rows, tests) = (rows(), tests());
    let numbers: Vec<usize> = rows.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    let missing: Vec<_> = rows
        .iter()
        .flat_map(|(number, names)| names.iter().map(move |name| (number, name)))
        .filter(|(_, name)| !tests.contains(*name))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
    let bare: Vec<usize> =
        rows.iter().filter(|(_, names)| names.is_empty()).map(|(number, _)| *number).collect();
    assert_eq!(bare, WITHOUT_TEST);
}
