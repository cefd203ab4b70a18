//! Archives that `ADD` unpacks, told by their content.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use kiln_oci::compression::decompress_archive;
use kiln_oci::{Digest, Digester};
use kiln_snapshot::{ApplyOptions, apply};
use kiln_sys::fs::{Owner, Root};

use crate::error::Cause;
use crate::select::{Found, Selected, Source};

/// The length of a tar header.
const TAR_BLOCK: usize = 512;

/// Unpacks a file that is an archive into the directory `dest`; false where it is none. Everything then belongs to
/// `owner`, or to whom the archive says. One that is not what was `listed` of it is an error that names it.
pub(super) fn unpack(
    source: Source<'_>,
    one: &Selected,
    listed: Option<&Found>,
    dest: &Path,
    target: &Root,
    owner: Option<Owner>,
) -> Result<bool, Cause> {
    // A device or a FIFO is no archive; copying it says what is wrong with it, if anything is.
    let Ok(mut file) = source.root.open_file(&one.path) else { return Ok(false) };
    let path = one.path.display().to_string();
    if !is_archive(&mut file).map_err(Cause::io(format!("read `{path}`")))? {
        return Ok(false);
    }
    let dir = target.create_dir_all(dest, 0o755, Some(owner.unwrap_or(Owner { uid: 0, gid: 0 })))?;
    let options = ApplyOptions { fresh: false, owner, whiteouts: false, ..ApplyOptions::default() };
    let mut seen = Seen { file, digester: Digester::sha256() };
    let applied = apply(decompress_archive(BufReader::new(&mut seen)), &Root::from_fd(dir), &options);
    let entry = listed.and_then(|found| found.listing.entries().next());
    if let Some(expected) = entry.and_then(|entry| entry.content) {
        // What is wrong with an archive that is being written is that it is being written.
        let digest = seen.finish().map_err(Cause::io(format!("read `{path}`")))?;
        if digest != Digest::from_sha256(expected) {
            return Err(kiln_snapshot::Error::Changed { path }.into());
        }
    }
    applied.map_err(|source| Cause::Unpack { path, source })?;
    Ok(true)
}

/// A file whose bytes are digested while they are read.
struct Seen {
    file: File,
    digester: Digester,
}

impl Seen {
    /// The digest of the whole file, whatever has been read of it.
    fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.digester.finish())
    }
}

impl Read for Seen {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.digester.update(&buffer[..count]);
        Ok(count)
    }
}

/// Whether a file that is copied is an archive; one that cannot be read is none.
pub(super) fn is_one(source: Source<'_>, one: &Selected) -> bool {
    source.root.open_file(&one.path).is_ok_and(|mut file| is_archive(&mut file).unwrap_or(false))
}

/// Whether the file, decompressed, starts with a tar header whose checksum is right. Leaves it at its start.
fn is_archive(file: &mut File) -> io::Result<bool> {
    let mut header = [0; TAR_BLOCK];
    let whole = decompress_archive(BufReader::new(&mut *file)).read_exact(&mut header).is_ok();
    file.rewind()?;
    Ok(whole && is_tar_header(&header))
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
            file.rewind().unwrap();
            super::is_archive(&mut file).unwrap()
        };
        assert!(is_archive(&header(b"a")));
        assert!(!is_archive(b""));
        assert!(!is_archive(&[0; 1024]));
        assert!(!is_archive(&[b'x'; 2048]));
        assert!(!is_archive(b"\x1f\x8b broken gzip that nobody can read, but longer than a header"));
        assert!(!is_archive(b"\xfd7zXZ\0 a name that is all there is of an archive"));
        assert!(!is_archive(b"BZh9 the same of the other kind"));
    }
}
