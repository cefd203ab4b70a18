//! File content from one descriptor to another, in the kernel where it can.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
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

/// Copies the whole of `from` to the start of `to`; returns the number of bytes.
pub fn copy_data(from: &File, to: &File) -> Result<u64> {
    if reflink(from, to)? {
        return Ok(super::fstat(from.as_fd())?.size);
    }
    let (mut read, mut written) = (0, 0);
    loop {
        match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), CHUNK) {
            Ok(0) => return Ok(written),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                return copy_through(from, to, written);
            }
            Err(errno) => return Err(errno).on("copy_file_range", "an open file"),
        }
    }
}

fn copy_through(mut from: &File, mut to: &File, start: u64) -> Result<u64> {
    let mut copy = || -> std::io::Result<u64> {
        from.seek(SeekFrom::Start(start))?;
        to.seek(SeekFrom::Start(start))?;
        let mut buffer = vec![0; 256 * 1024];
        let mut total = start;
        loop {
            match from.read(&mut buffer)? {
                0 => return Ok(total),
                n => to.write_all(&buffer[..n])?,
            }
            total = to.stream_position()?;
        }
    };
    copy().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO)).on("write", "an open file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_copy_everything() {
        let mut from = tempfile::tempfile().unwrap();
        let data: Vec<u8> = (0..1_000_000u32).map(|i| i as u8).collect();
        from.write_all(&data).unwrap();
        for copy in [copy_data as fn(&File, &File) -> Result<u64>, |f, t| copy_through(f, t, 0)] {
            let mut to = tempfile::tempfile().unwrap();
            assert_eq!(copy(&from, &to).unwrap(), 1_000_000);
            let mut back = Vec::new();
            to.rewind().unwrap();
            to.read_to_end(&mut back).unwrap();
            assert!(back == data);
        }
    }
}
