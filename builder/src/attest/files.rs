//! Statements beside the files of a result: about each file, instead of an image.

use std::io::{self, Read};

use kiln_oci::Digester;
use kiln_snapshot::{Change, ChangeKind, Node};
use kiln_sys::fs::Root;

use super::Attestation;
use super::statement::{Statement, Subject};
use crate::error::Cause;

/// The most files that a statement names.
const MAX_SUBJECTS: usize = 1_000_000;
/// How much is read at once.
const PIECE: usize = 256 << 10;

/// The files that hold the statements, by name, about `changes` beneath `root`. `tag` goes between a name and its ending
/// where several platforms share a folder.
pub(crate) fn statements(
    attestations: &[Attestation],
    changes: &[Change],
    root: &Root,
    prefix: &str,
    tag: Option<&str>,
) -> Result<Vec<(String, Vec<u8>)>, Cause> {
    let wanted: Vec<&Attestation> = attestations.iter().filter(|it| !it.inline_only).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let subject = subjects(changes, root)?;
    let file = |it: &&Attestation| {
        let statement = Statement::new(it.predicate_type, it.predicate.clone(), subject.clone());
        (format!("{prefix}{}", tagged(&it.file, tag)), statement.to_bytes())
    };
    let files: Vec<(String, Vec<u8>)> = wanted.iter().map(file).collect();
    for (name, _) in &files {
        let is_there = changes.iter().any(|change| change.path == name.as_bytes());
        if is_there {
            return Err(Cause::Invalid(format!(
                "the result has a file `{name}`, which is that of a statement"
            )));
        }
    }
    Ok(files)
}

/// `provenance.linux_amd64.json`
fn tagged(name: &str, tag: Option<&str>) -> String {
    match (tag, name.rsplit_once('.')) {
        (Some(tag), Some((stem, ending))) => format!("{stem}.{tag}.{ending}"),
        (Some(tag), None) => format!("{name}.{tag}"),
        (None, _) => name.to_owned(),
    }
}

fn subjects(changes: &[Change], root: &Root) -> Result<Vec<Subject>, Cause> {
    let is_file = |change: &&Change| matches!(&change.kind, ChangeKind::Put(put) if matches!(put.node, Node::File | Node::HardLink(_)));
    let mut subjects = Vec::new();
    for change in changes.iter().filter(is_file) {
        if subjects.len() == MAX_SUBJECTS {
            return Err(Cause::Invalid(format!(
                "a statement cannot be about more than {MAX_SUBJECTS} files"
            )));
        }
        let path = String::from_utf8_lossy(&change.path);
        let path_on_disk = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&change.path);
        let digest = hash(root.open_file(path_on_disk)?).map_err(Cause::io(format!("read `{path}`")))?;
        subjects.push(Subject::new(path, &digest));
    }
    Ok(subjects)
}

fn hash(mut file: impl Read) -> io::Result<kiln_oci::Digest> {
    let (mut digester, mut piece) = (Digester::sha256(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(digester.finish()),
            length => digester.update(&piece[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_platforms_have_names_of_their_own() {
        assert_eq!(tagged("sbom.spdx.json", None), "sbom.spdx.json");
        assert_eq!(tagged("provenance.json", Some("linux_amd64")), "provenance.linux_amd64.json");
        assert_eq!(tagged("x", Some("linux_amd64")), "x.linux_amd64");
    }
}
