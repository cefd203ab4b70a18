//! The rules that hold the architecture, checked on the tree itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Which crate may use which: `ARCHITECTURE.md`, "Crates and direction".
const TABLE: &[(&str, &[&str])] = &[
    ("oci", &[]),
    ("sys", &[]),
    ("graph", &["oci"]),
    ("parser", &["graph", "oci"]),
    ("snapshot", &["oci", "sys"]),
    ("cache", &["oci", "snapshot"]),
    ("registry-client", &["oci"]),
    ("runtime", &["oci", "sys"]),
    ("builder", &["cache", "graph", "oci", "registry-client", "runtime", "snapshot", "sys"]),
    (
        "engine",
        &["builder", "cache", "graph", "oci", "parser", "registry-client", "runtime", "snapshot", "sys"],
    ),
    ("service", &["engine", "graph", "oci"]),
    ("cli", &["engine", "service"]),
    ("test-support", &["oci", "runtime", "snapshot", "sys"]),
    ("xtask", &["test-support"]),
];

/// External crates are counted so that one more is a decision.
const MOST_EXTERNAL: usize = 52;

/// All rules; the error lists every breach.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut breaches = dependency_breaches(root)?;
    for file in sources(root)? {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        breaches.extend(file_breaches(&name, &text));
    }
    if breaches.is_empty() {
        return Ok(());
    }
    bail!("{} breach(es):\n{}", breaches.len(), breaches.join("\n"))
}

fn file_breaches(name: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    if !text.starts_with("//!") {
        breaches.push(format!("{name}: the first line is not a `//!` sentence"));
    }
    let is_root = name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
    if is_root && !name.starts_with("sys/") && !text.contains("#![forbid(unsafe_code)]") {
        breaches.push(format!("{name}: the crate does not forbid unsafe code"));
    }
    for unfinished in ["todo!(", "unimplemented!(", "#[ignore", "dbg!("] {
        // This file has to spell them.
        if text.contains(unfinished) && !name.ends_with("xtask/src/tidy.rs") {
            breaches.push(format!("{name}: contains `{unfinished}`"));
        }
    }
    breaches
}

fn dependency_breaches(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let mut breaches = Vec::new();
    let mut external = BTreeSet::new();
    let mut seen = BTreeMap::new();
    for package in packages {
        let name = short(package["name"].as_str().unwrap_or_default()).to_owned();
        let normal = package["dependencies"].as_array().into_iter().flatten().filter(|d| d["kind"].is_null());
        let names: Vec<&str> = normal.filter_map(|d| d["name"].as_str()).collect();
        external.extend(names.iter().filter(|n| !is_ours(n)).map(|n| (*n).to_owned()));
        seen.insert(
            name,
            names.iter().filter(|n| is_ours(n)).map(|n| short(n).to_owned()).collect::<BTreeSet<_>>(),
        );
    }
    for (name, allowed) in TABLE {
        let Some(used) = seen.remove(*name) else {
            breaches.push(format!("{name}: in the table, not in the workspace"));
            continue;
        };
        let forbidden = used.iter().filter(|d| !allowed.contains(&d.as_str()));
        breaches
            .extend(forbidden.map(|d| format!("{name}: depends on `{d}`, which the table does not allow")));
    }
    breaches.extend(seen.keys().map(|name| format!("{name}: in the workspace, not in the table")));
    if external.len() > MOST_EXTERNAL {
        breaches.push(format!("{} external crates, {MOST_EXTERNAL} at most: {external:?}", external.len()));
    }
    Ok(breaches)
}

fn is_ours(name: &str) -> bool {
    name.starts_with("kiln-")
}

fn short(name: &str) -> &str {
    name.strip_prefix("kiln-").unwrap_or(name)
}

/// The ten longest files and the ten longest functions outside tests.
pub(crate) fn longest(root: &Path) -> Result<()> {
    let mut files = Vec::new();
    let mut functions = Vec::new();
    for file in sources(root)? {
        let text = fs::read_to_string(&file)?;
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let code: Vec<&str> = text.lines().take_while(|l| *l != "#[cfg(test)]").collect();
        functions.extend(function_lengths(&code).into_iter().map(|(n, at)| (n, format!("{name}:{at}"))));
        files.push((code.len(), name));
    }
    for (title, mut list) in [("files", files), ("functions", functions)] {
        println!("longest {title} (lines, tests left out):");
        list.sort_by(|a, b| b.cmp(a));
        list.iter().take(10).for_each(|(lines, name)| println!("{lines:6}  {name}"));
    }
    Ok(())
}

/// Length and first line of each function, by the indentation that rustfmt gives its closing brace.
fn function_lengths(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        let head =
            body.trim_start_matches("pub(crate) ").trim_start_matches("pub ").trim_start_matches("async ");
        if !head.starts_with("fn ") {
            continue;
        }
        let closing = format!("{}}}", &line[..line.len() - body.len()]);
        let ends_here = line.ends_with('}') || line.ends_with(';');
        let end = if ends_here { 0 } else { lines[at..].iter().position(|l| **l == closing).unwrap_or(0) };
        found.push((end + 1, at + 1));
    }
    found
}

/// Every Rust file of the crates.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (name, _) in TABLE {
        walk(&root.join(name), &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        check(&crate::root()).unwrap();
    }

    #[test]
    fn breaches_are_found() {
        assert_eq!(file_breaches("x/src/a.rs", "fn main() {}").len(), 1);
        assert_eq!(file_breaches("x/src/lib.rs", "//! Says.\n").len(), 1);
        assert!(file_breaches("x/src/lib.rs", "//! Says.\n#![forbid(unsafe_code)]\n").is_empty());
        assert_eq!(file_breaches("x/src/a.rs", &format!("//! Says.\nfn a() {{ {}) }}", "todo!(")).len(), 1);
    }

    #[test]
    fn functions_are_measured_by_their_braces() {
        let lines =
            ["impl A {", "    fn short() {}", "    pub fn long(", "    ) {", "        x();", "    }", "}"];
        assert_eq!(function_lengths(&lines), [(1, 2), (4, 3)]);
    }
}
