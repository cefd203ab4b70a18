//! How large a repository may become on this machine's disk: what a server sends has no length that could be asked for,
//! and a small history can be checked out to a large tree.

use std::fs::read_dir;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The most bytes of a repository with its submodules and what is checked out of them.
const MAX_BYTES: u64 = 64 << 30;
/// The most files and folders of it.
const MAX_FILES: u64 = 4_000_000;
/// The time between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// So many times as long as a look took is waited before the next.
const REST: u32 = 20;

/// What a folder may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes on the disk.
    pub(super) bytes: u64,
    /// Files and folders.
    pub(super) files: u64,
    /// The time between two looks.
    pub(super) pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: MAX_BYTES, files: MAX_FILES, pause: PAUSE }
    }
}

/// Looks at `dir` from time to time; ends with the reason when there is more in it than `limits` allow, and never else.
pub(super) async fn exceeded(dir: PathBuf, limits: Limits) -> String {
    let mut pause = limits.pause;
    loop {
        tokio::time::sleep(pause).await;
        let (dir, began) = (dir.clone(), Instant::now());
        let look = tokio::task::spawn_blocking(move || look(&dir, limits));
        if let Ok(Some(reason)) = look.await {
            return reason;
        }
        pause = limits.pause.max(began.elapsed() * REST);
    }
}

/// Why what is in `dir` is too much. What comes and goes meanwhile is not counted.
fn look(dir: &Path, limits: Limits) -> Option<String> {
    let (mut bytes, mut files) = (0, 0);
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in read_dir(&folder).into_iter().flatten().flatten() {
            let Ok((is_dir, size)) = size(&entry) else { continue };
            (bytes, files) = (bytes + size, files + 1);
            if bytes > limits.bytes {
                return Some(format!("the repository is larger than {} bytes on the disk", limits.bytes));
            }
            if files > limits.files {
                return Some(format!("the repository has more than {} files", limits.files));
            }
            folders.extend(is_dir.then(|| entry.path()));
        }
    }
    None
}

/// Whether it is a folder, no link to one, and its bytes on the disk.
fn size(entry: &std::fs::DirEntry) -> io::Result<(bool, u64)> {
    let meta = entry.metadata()?;
    Ok((meta.is_dir(), meta.blocks() * 512))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(bytes: u64, files: u64) -> Limits {
        Limits { bytes, files, pause: Duration::from_millis(1) }
    }

    #[tokio::test]
    async fn a_repository_has_a_limit_of_bytes_and_of_files() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("f"), vec![1; 1 << 20]).unwrap();
        std::os::unix::fs::symlink("/", deep.join("host")).unwrap();
        let exceeded = |limits| exceeded(dir.path().to_owned(), limits);
        assert!(exceeded(limits(1 << 19, 100)).await.contains("larger than 524288 bytes"));
        assert!(exceeded(limits(1 << 30, 3)).await.contains("more than 3 files"));
        assert_eq!(look(dir.path(), limits(2 << 20, 4)), None, "a link leads nowhere");
        assert_eq!(look(&dir.path().join("none"), limits(0, 0)), None);
    }
}
