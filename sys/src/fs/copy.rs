//! File content from one descriptor to another, in the kernel where it can.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::error::{Context, Result};

/// The most that one `copy_file_range` moves.
const CHUNK: usize = 64 * 1024 * 1024;

/// Makes `to` share the blocks of `from`; false where the file system cannot.
pub fn reflink(from: &File, to: &File) -> Result<bool> {
    match rustix::fs::ioctl_ficlone(to, from) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => Ok(false),
        Err(errno) => Err(errno).on("ioctl FICLONE", "an open file"),
    }
}

/// Copies the whole of `from` to `to`, which is empty; returns the number of bytes. Holes stay holes.
pub fn copy_data(from: &File, to: &File) -> Result<u64> {
    let size = super::fstat(from.as_fd())?.size;
    if reflink(from, to)? {
        return Ok(size);
    }
    let mut at = 0;
    while at < size {
        let Some((start, end)) = next_data(from, at, size)? else {
            rustix::fs::ftruncate(to, size).on("ftruncate", "an open file")?;
            return Ok(size);
        };
        at = copy_range(from, to, start, end)?;
        if at < end {
            return Ok(at);
        }
    }
    Ok(at)
}

/// Where the next bytes that are no hole begin and end.
fn next_data(from: &File, at: u64, size: u64) -> Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(from, rustix::fs::SeekFrom::Data(at)) {
        Err(Errno::NXIO) => return Ok(None),
        // A file system that does not know holes has none.
        Err(Errno::INVAL) => return Ok(Some((at, size))),
        start => start.on("lseek", "an open file")?,
    };
    let end = rustix::fs::seek(from, rustix::fs::SeekFrom::Hole(start)).on("lseek", "an open file")?;
    Ok(Some((start, end)))
}

/// Copies the bytes from `start` to `end`; returns where it stopped, which is before `end` where the file does.
fn copy_range(from: &File, to: &File, start: u64, end: u64) -> Result<u64> {
    let (mut read, mut written) = (start, start);
    while written < end {
        let length = CHUNK.min(usize::try_from(end - written).unwrap_or(CHUNK));
        match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), length) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                return copy_through(from, to, written, end);
            }
            Err(errno) => return Err(errno).on("copy_file_range", "an open file"),
        }
    }
    Ok(written)
}

fn copy_through(mut from: &File, mut to: &File, start: u64, end: u64) -> Result<u64> {
    let mut copy = || -> std::io::Result<u64> {
        from.seek(SeekFrom::Start(start))?;
        to.seek(SeekFrom::Start(start))?;
        Ok(start + std::io::copy(&mut from.take(end - start), &mut to)?)
    };
    copy().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO)).on("write", "an open file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn holes_stay_holes() {
        let mut from = tempfile::tempfile().unwrap();
        from.seek(SeekFrom::Start(5 << 20)).unwrap();
        from.write_all(b"in the middle").unwrap();
        from.set_len(9 << 20).unwrap();
        let to = tempfile::tempfile().unwrap();
        assert_eq!(copy_data(&from, &to).unwrap(), 9 << 20);
        let stat = super::super::fstat(to.as_fd()).unwrap();
        assert_eq!(stat.size, 9 << 20);
        assert!(stat.blocks * 512 < 1 << 20, "{} blocks", stat.blocks);
        let mut back = Vec::new();
        (&to).seek(SeekFrom::Start(5 << 20)).unwrap();
        (&to).take(13).read_to_end(&mut back).unwrap();
        assert_eq!(back, b"in the middle");
    }

    #[test]
    fn both_ways_copy_everything() {
        let mut from = tempfile::tempfile().unwrap();
        let data: Vec<u8> = (0..1_000_000u32).map(|i| i as u8).collect();
        from.write_all(&data).unwrap();
        for copy in [copy_data as fn(&File, &File) -> Result<u64>, |f, t| copy_through(f, t, 0, u64::MAX)] {
            let mut to = tempfile::tempfile().unwrap();
            assert_eq!(copy(&from, &to).unwrap(), 1_000_000);
            let mut back = Vec::new();
            to.rewind().unwrap();
            to.read_to_end(&mut back).unwrap();
            assert!(back == data);
        }
    }
}
