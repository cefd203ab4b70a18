//! `docs/language.md` names a test for each of the language's hundred points, `docs/safety.md` one for each row of the
//! tables of what means harm: the tables are whole and the tests exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What no test can show, as kiln has nothing of the kind.
const POINTS_WITHOUT_TEST: [&str; 1] = ["99"];
const DANGERS_WITHOUT_TEST: [&str; 4] = ["B13", "B14", "B28", "B32"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A row's number, and its tests.
type Row = (String, Vec<String>);

/// The rows of a page's tables whose first column is a number, after a letter or not.
fn rows(page: &str) -> Vec<Row> {
    let text = fs::read_to_string(root().join("docs").join(page)).unwrap();
    let row = |line: &str| {
        let columns: Vec<&str> = line.strip_prefix("| ")?.split(" | ").collect();
        let number = *columns.first()?;
        number.trim_start_matches(['U', 'B', 'A']).parse::<usize>().ok()?;
        let names = columns.get(2)?.split('`').skip(1).step_by(2);
        Some((number.to_owned(), names.map(str::to_owned).collect()))
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

/// Checks that the rows are these, that their tests exist, and that none but `bare` are without.
#[track_caller]
fn check(page: &str, expected: &[String], bare: &[&str]) {
    let (rows, tests) = (rows(page), tests());
    let numbers: Vec<&String> = rows.iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, expected.iter().collect::<Vec<_>>());
    let missing: Vec<_> = rows
        .iter()
        .flat_map(|(number, names)| names.iter().map(move |name| (number, name)))
        .filter(|(_, name)| !tests.contains(*name))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
    let without: Vec<&String> =
        rows.iter().filter(|(_, names)| names.is_empty()).map(|(number, _)| number).collect();
    assert_eq!(without, bare);
}

#[test]
fn every_point_has_tests_that_exist() {
    check("language.md", &(1..=100).map(|n| n.to_string()).collect::<Vec<_>>(), &POINTS_WITHOUT_TEST);
}

#[test]
fn every_danger_has_tests_that_exist() {
    let rows = |letter: char, last: usize| (1..=last).map(move |n| format!("{letter}{n:02}"));
    check(
        "safety.md",
        &rows('U', 30).chain(rows('B', 33)).chain(rows('A', 3)).collect::<Vec<_>>(),
        &DANGERS_WITHOUT_TEST,
    );
}
