//! One regular file from directory to directory.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use kiln_sys::fs::{self, Stat};
use sha2::{Digest as _, Sha256};

use super::conflict;
use crate::attributes::Attributes;
use crate::checksum::{Identity, PIECE, Sum, unchanged};
use crate::error::show;
use crate::path::name_of;
use crate::{Error, Result};

/// A file to be copied.
pub(super) struct FileCopy {
    pub(super) from_dir: Arc<OwnedFd>,
    pub(super) from: Vec<u8>,
    pub(super) to_dir: Arc<OwnedFd>,
    pub(super) to: Vec<u8>,
    /// What was seen of the source.
    pub(super) stat: Stat,
    pub(super) attributes: Attributes,
    pub(super) expected: Option<Sum>,
}

impl FileCopy {
    pub(super) fn run(&self) -> Result<()> {
        let source = match fs::open_file(self.from_dir.as_fd(), name_of(&self.from)) {
            Err(error) if error.is_not_found() => return Err(self.changed()),
            other => other?,
        };
        unchanged(&source, &Identity::of(&self.stat), &self.from)?;
        let target = self.create()?;
        let count = match &self.expected {
            Some(expected) => self.verified(&source, &target, expected)?,
            None if self.stat.size <= PIECE as u64 => self.through(&source, &target, |_| ())?,
            None => fs::copy_data(&source, &target)?,
        };
        if count != self.stat.size {
            return Err(self.changed());
        }
        unchanged(&source, &Identity::of(&self.stat), &self.from)?;
        self.attributes.finish(target.as_fd())
    }

    fn create(&self) -> Result<File> {
        let (name, mode) = (name_of(&self.to), self.attributes.creation_mode());
        match fs::create_file(self.to_dir.as_fd(), name, mode) {
            Err(error) if error.is_exists() => {
                clear_way(self.to_dir.as_fd(), &self.to, &self.stat, &self.from)?;
                Ok(fs::create_file(self.to_dir.as_fd(), name, mode)?)
            }
            other => Ok(other?),
        }
    }

    fn verified(&self, source: &File, target: &File, expected: &Sum) -> Result<u64> {
        let mut hash = Sha256::new();
        let count = self.through(source, target, |bytes| hash.update(bytes))?;
        if Sum::from(hash.finalize()) == *expected { Ok(count) } else { Err(self.changed()) }
    }

    fn through(&self, mut source: &File, mut target: &File, mut see: impl FnMut(&[u8])) -> Result<u64> {
        let mut buffer = vec![0; PIECE.min(self.stat.size as usize + 1)];
        let has_holes = self.stat.blocks * 512 < self.stat.size;
        let (mut total, mut is_short) = (0, false);
        loop {
            let count = source.read(&mut buffer).map_err(Error::io("read", show(&self.from)))?;
            if count == 0 {
                break;
            }
            let bytes = &buffer[..count];
            see(bytes);
            total += count as u64;
            is_short = has_holes && bytes.iter().all(|byte| *byte == 0);
            let done = match is_short {
                true => target.seek_relative(count as i64),
                false => target.write_all(bytes),
            };
            done.map_err(Error::io("write", show(&self.to)))?;
        }
        if is_short {
            target.set_len(total).map_err(Error::io("write", show(&self.to)))?;
        }
        Ok(total)
    }

    fn changed(&self) -> Error {
        Error::Changed { path: show(&self.from) }
    }
}

/// Removes what has the name `to`, unless it is a directory.
pub(super) fn clear_way(dir: BorrowedFd<'_>, to: &[u8], source: &Stat, from: &[u8]) -> Result<()> {
    match fs::statat(dir, name_of(to)) {
        Ok(there) if there.is_dir() => Err(conflict(source, from, &there, to)),
        Ok(_) => Ok(fs::unlinkat(dir, name_of(to))?),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}
