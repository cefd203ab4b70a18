//! What the path of a tar entry means: a place beneath the root, or the deletion of one.

use crate::path::{join, joined, split};
use crate::read_tar::EntryKind;

/// Marks the deletion of what follows in the name.
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// Says that a directory hides what lower layers have in it.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Begins what AUFS kept for itself in the root of a layer.
const AUFS: &[u8] = b".wh..wh.";

/// The meaning of an entry's path. Paths are relative, clean, and never contain `..`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The root itself.
    Root,
    /// Something is put at this path.
    Put(Vec<u8>),
    /// What lower layers have at this path is deleted.
    Delete(Vec<u8>),
    /// What lower layers have in this directory is deleted.
    Opaque(Vec<u8>),
    /// Nothing that concerns an image.
    Skip,
}

/// Reads an entry's path; the error says what is wrong with it.
pub(crate) fn meaning(raw: &[u8], kind: EntryKind) -> Result<Meaning, &'static str> {
    let path = clean(raw)?;
    if path.is_empty() {
        return Ok(Meaning::Root);
    }
    let (parent, name) = split(&path);
    let first = path.split(|&b| b == b'/').next().unwrap_or_default();
    if first.starts_with(AUFS) && path != OPAQUE {
        return Ok(Meaning::Skip);
    }
    if parent.split(|&b| b == b'/').any(|part| part.starts_with(WHITEOUT)) {
        return Err("a whiteout has nothing beneath it");
    }
    let Some(target) = name.strip_prefix(WHITEOUT) else { return Ok(Meaning::Put(path)) };
    // AUFS made whiteouts as hard links of one file.
    if !matches!(kind, EntryKind::File | EntryKind::HardLink) {
        return Err("a whiteout must be a regular file");
    }
    match target {
        _ if name == OPAQUE => Ok(Meaning::Opaque(parent.to_vec())),
        b"" | b"." | b".." => Err("a whiteout names no file"),
        _ if target.starts_with(WHITEOUT) => Err("a whiteout of a whiteout"),
        _ => Ok(Meaning::Delete(joined(parent, target))),
    }
}

/// The path without empty and `.` components. One with `..` is refused: no image tool writes it.
pub(crate) fn clean(raw: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut path = Vec::with_capacity(raw.len());
    for part in raw.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("path contains `..`"),
            _ => join(&mut path, part),
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Result<Meaning, &'static str> {
        meaning(path.as_bytes(), EntryKind::File)
    }

    #[test]
    fn paths_are_cleaned_or_refused() {
        for (raw, path) in [("/abs", "abs"), ("a//b", "a/b"), ("./a/./b/", "a/b"), ("...", "...")] {
            assert_eq!(read(raw), Ok(Meaning::Put(path.into())), "{raw}");
        }
        for raw in ["", ".", "/", "./", "//./"] {
            assert_eq!(read(raw), Ok(Meaning::Root), "{raw}");
        }
        for raw in ["..", "../x", "a/../../x", "./../", "a/..", "/.."] {
            assert!(read(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn whiteouts_have_a_strict_grammar() {
        assert_eq!(read("a/.wh.b"), Ok(Meaning::Delete(b"a/b".to_vec())));
        assert_eq!(read(".wh.b"), Ok(Meaning::Delete(b"b".to_vec())));
        assert_eq!(read("a/.wh..wh..opq"), Ok(Meaning::Opaque(b"a".to_vec())));
        assert_eq!(read(".wh..wh..opq"), Ok(Meaning::Opaque(Vec::new())));
        assert_eq!(read(".wh..hidden"), Ok(Meaning::Delete(b".hidden".to_vec())));
        assert_eq!(read(".wh..wh.plnk/1.2"), Ok(Meaning::Skip));
        for raw in [".wh.", "a/.wh..", "a/.wh...", ".wh.x/b", "a/.wh.../b", "a/.wh..wh.x"] {
            assert!(read(raw).is_err(), "{raw}");
        }
        assert!(meaning(b".wh.x", EntryKind::Symlink).is_err());
    }
}
