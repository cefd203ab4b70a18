//! A layer of very many small things: memory stays flat, and nothing is left out.

mod support;

use std::io::Read;

use kiln_snapshot::{ApplyOptions, apply};
use support::{header, root};

/// Entries of the layer.
const ENTRIES: u64 = 40_000;
/// The most that the memory of this process may grow meanwhile, in KiB.
const MAX_GROWTH: u64 = 64 << 10;

/// A tar that is made while it is read: folders of files, each file with a hard link, and deep folders.
struct Endless {
    next: u64,
    block: Vec<u8>,
}

impl Endless {
    fn entry(&mut self) -> bool {
        let at = self.next;
        self.next += 1;
        let (folder, file) = (at / 1000, at % 1000);
        self.block = match at % 4 {
            _ if at >= ENTRIES => return false,
            0 => header(b'5', format!("d{folder}/{file}").as_bytes(), b"", 0o755, 0).to_vec(),
            1 => {
                let mut block =
                    header(b'0', format!("d{folder}/{}/f", file - 1).as_bytes(), b"", 0o644, 1).to_vec();
                block.resize(1024, b'x');
                block[513..].fill(0);
                block
            }
            2 => {
                let (name, target) =
                    (format!("d{folder}/{}/h", file - 2), format!("d{folder}/{}/f", file - 2));
                header(b'1', name.as_bytes(), target.as_bytes(), 0o644, 0).to_vec()
            }
            _ => header(b'2', format!("d{folder}/{}/l", file - 3).as_bytes(), b"f", 0o777, 0).to_vec(),
        };
        true
    }
}

impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.block.is_empty() && !self.entry() {
            return Ok(0);
        }
        let count = out.len().min(self.block.len());
        out[..count].copy_from_slice(&self.block[..count]);
        self.block.drain(..count);
        Ok(count)
    }
}

/// The most memory that this process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn memory_stays_flat_whatever_a_layer_has() {
    // In memory where that can be, for a disk is slow with so many.
    let memory = std::path::Path::new("/dev/shm");
    let dir =
        tempfile::tempdir_in(if memory.is_dir() { memory } else { std::path::Path::new("/tmp") }).unwrap();
    let before = peak();
    let options = ApplyOptions { fresh: true, ..ApplyOptions::default() };
    let applied = apply(Endless { next: 0, block: Vec::new() }, &root(dir.path()), &options).unwrap();
    assert_eq!(applied.entries, ENTRIES);
    let grown = peak() - before;
    assert!(grown < MAX_GROWTH, "memory grew by {grown} KiB");
    for (path, links) in [("d0/0/f", 2), ("d29/996/h", 2)] {
        let meta = std::fs::metadata(dir.path().join(path)).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::nlink(&meta), links, "{path}");
    }
    assert!(dir.path().join("d30/0/l").is_symlink());
}
