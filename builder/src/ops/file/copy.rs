//! One copy: files, directories' contents, and archives that unpack themselves.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use kiln_graph::CopyAction;
use kiln_oci::compression::decompress;
use kiln_snapshot::copy::{CopyOptions, Parents};
use kiln_snapshot::{ApplyOptions, apply};
use kiln_sys::fs::{self, Owner, Root};

use super::owner;
use crate::error::Cause;
use crate::mounts::relative;
use crate::select::{self, CopyFilter, Selected, Source};

/// The length of a tar header.
const TAR_BLOCK: usize = 512;
const ROOT: Owner = Owner { uid: 0, gid: 0 };

/// Copies what `copy` takes of `source` into `target`.
pub(super) fn copy(source: Source<'_>, copy: &CopyAction, target: &Root) -> Result<(), Cause> {
    let selected = select::select(source, copy)?;
    let files = selected.iter().filter(|one| !one.is_dir || !copy.contents_only).count();
    if files > 1 && !copy.dest.ends_with('/') {
        let dest = &copy.dest;
        return Err(Cause::Invalid(format!(
            "{files} sources but the destination `{dest}` does not end with `/`"
        )));
    }
    let owner = owner::lookup(copy.owner.as_ref(), target)?;
    let filter = CopyFilter::new(source, copy)?;
    for one in &selected {
        if copy.unpack && !one.is_dir && unpack(source, one, copy, target, owner)? {
            continue;
        }
        copy_one(source, one, copy, target, owner, &filter)?;
    }
    Ok(())
}

fn copy_one(
    source: Source<'_>,
    one: &Selected,
    copy: &CopyAction,
    target: &Root,
    owner: Owner,
    filter: &CopyFilter<'_>,
) -> Result<(), Cause> {
    let beneath = filter.beneath(&one.path);
    let change = |mode: u32, is_dir: bool| copy.mode.as_ref().map_or(mode, |spec| spec.apply(mode, is_dir));
    let options = CopyOptions {
        owner: Some(owner),
        mode: copy.mode.is_some().then_some(&change as _),
        filter: Some(&beneath),
        parents: copy
            .create_dest_parents
            .then_some(Parents { mode: 0o755, owner: copy.owner.as_ref().map_or(ROOT, |_| owner) }),
        mtime: None,
        follow_source: copy.follow_symlinks,
        merge_metadata: false,
        expected: None,
    };
    let from = if one.path.as_os_str().is_empty() { Path::new(".") } else { &one.path };
    kiln_snapshot::copy::copy(source.root, from, target, &destination(one, copy, target), &options)?;
    Ok(())
}

/// Where a path lands. A file that is known by another name than its own (a link was followed) lands under the name
/// that was written.
fn destination(one: &Selected, copy: &CopyAction, target: &Root) -> PathBuf {
    // `..` is taken out before links are looked at, as people read a path.
    let dest = relative(&copy.dest);
    let inside = match one.is_dir {
        true => !copy.contents_only,
        false => copy.dest.ends_with('/') || is_dir(target, &dest),
    };
    if inside { dest.join(&one.name) } else { dest }
}

fn is_dir(target: &Root, path: &Path) -> bool {
    let stat = target.resolve(path, true).and_then(|fd| fs::fstat(fd.as_fd()));
    stat.is_ok_and(|stat| stat.is_dir())
}

/// Unpacks a file that is an archive into the destination; false where it is none.
fn unpack(
    source: Source<'_>,
    one: &Selected,
    copy: &CopyAction,
    target: &Root,
    owner: Owner,
) -> Result<bool, Cause> {
    // A device or a FIFO is no archive; copying it says what is wrong with it, if anything is.
    let Ok(mut file) = source.root.open_file(&one.path) else { return Ok(false) };
    let name = one.path.display().to_string();
    if !is_archive(&mut file).map_err(Cause::io(format!("read `{name}`")))? {
        return Ok(false);
    }
    if let Some(format) = foreign_compression(&mut file).map_err(Cause::io(format!("read `{name}`")))? {
        return Err(Cause::Unsupported(format!("unpacking `{name}`, which is compressed with {format},")));
    }
    let dir = target.create_dir_all(relative(&copy.dest), 0o755, Some(owner))?;
    let options = ApplyOptions { fresh: false, ..ApplyOptions::default() };
    apply(decompress(BufReader::new(file)), &Root::from_fd(dir), &options)?;
    Ok(true)
}

/// Whether the file, unpacked, starts with a tar header whose checksum is right. Leaves it at its start.
fn is_archive(file: &mut std::fs::File) -> std::io::Result<bool> {
    if foreign_compression(file)?.is_some() {
        return Ok(true);
    }
    let mut header = [0; TAR_BLOCK];
    let whole = decompress(BufReader::new(&mut *file)).read_exact(&mut header).is_ok();
    file.seek(SeekFrom::Start(0))?;
    Ok(whole && is_tar_header(&header))
}

/// The name of a compression that archives come in and that is not unpacked.
fn foreign_compression(file: &mut std::fs::File) -> std::io::Result<Option<&'static str>> {
    let mut magic = [0; 6];
    let whole = file.read_exact(&mut magic).is_ok();
    file.seek(SeekFrom::Start(0))?;
    Ok(match &magic {
        _ if !whole => None,
        b"\xfd7zXZ\0" => Some("xz"),
        [b'B', b'Z', b'h', ..] => Some("bzip2"),
        _ => None,
    })
}

/// The checksum field of a tar header: the sum of all bytes, itself taken as spaces.
fn is_tar_header(header: &[u8; TAR_BLOCK]) -> bool {
    let field = &header[148..156];
    let text = std::str::from_utf8(field).unwrap_or_default();
    let Ok(expected) = u32::from_str_radix(text.trim_matches(['\0', ' ']), 8) else { return false };
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = field.iter().map(|byte| u32::from(*byte)).sum();
    expected != 0 && sum - own + 8 * u32::from(b' ') == expected
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn header(name: &[u8]) -> [u8; TAR_BLOCK] {
        let mut header = [0; TAR_BLOCK];
        header[..name.len()].copy_from_slice(name);
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    #[test]
    fn an_archive_is_told_by_its_content() {
        let is_archive = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            super::is_archive(&mut file).unwrap()
        };
        assert!(is_archive(&header(b"a")));
        assert!(!is_archive(b""));
        assert!(!is_archive(&[0; 1024]));
        assert!(!is_archive(&[b'x'; 2048]));
        assert!(!is_archive(b"\x1f\x8b broken gzip that nobody can read, but longer than a header"));
        assert!(is_archive(b"\xfd7zXZ\0 something"));
    }
}
