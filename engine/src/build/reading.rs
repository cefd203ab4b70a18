//! The files that a build made, looked at before anything becomes of them.

use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use kiln_builder::tree::{TreeEntry, TreeNode, nanoseconds};
use kiln_builder::workspace::View;
use kiln_builder::{Layers, Silent, pull};
use kiln_cache::Store;
use kiln_oci::ImageConfig;
use kiln_sys::fs::{self, FileType, Root, Stat, statat};

use super::{BuildRequest, Prepared, failure};
use crate::progress::ProgressSink;
use crate::{CancellationToken, Engine, Error, Result};

/// The most bytes of a file that are read at once.
const MAX_READ: u64 = 16 << 20;

/// The filesystem of a target. Its links lead nowhere but into itself.
#[derive(Debug)]
pub struct BuiltFiles {
    root: Root,
    layers: Layers,
    _view: View,
}

/// What a build made, for another to begin with or to copy from.
#[derive(Debug, Clone)]
pub struct BuiltBase {
    pub(super) layers: Layers,
    pub(super) config: ImageConfig,
}

impl Engine {
    /// Makes the filesystem of the target `number`, so that its files can be read.
    pub async fn built_files(
        &self,
        prepared: &Prepared,
        number: usize,
        request: &BuildRequest,
        progress: Arc<dyn ProgressSink>,
        cancel: CancellationToken,
    ) -> Result<BuiltFiles> {
        let layers = self.built_layers(prepared, number, request, progress, cancel).await?;
        let store = self.store().clone();
        let opened = tokio::task::spawn_blocking(move || BuiltFiles::open(&store, &layers)).await;
        opened.map_err(|error| Error::internal("open the files of a build", error))?
    }
}

impl Engine {
    /// The filesystem of the target `number`, with all its files here.
    pub(super) async fn built_layers(
        &self,
        prepared: &Prepared,
        number: usize,
        request: &BuildRequest,
        progress: Arc<dyn ProgressSink>,
        cancel: CancellationToken,
    ) -> Result<Layers> {
        let one = Prepared::gather(&[(prepared, number)], false)?;
        let job = self.job(request, &one, progress, cancel)?;
        let solved = self.builder().solve(&job).await;
        self.sync_later()?;
        let layers = solved.map_err(|error| failure::of_build(error, &one.source))?;
        let layers = layers.into_iter().next().unwrap_or_else(Layers::scratch);
        let stores = &self.stores();
        pull::unpack(stores, &layers, &Silent).await.map_err(|cause| failure::of_cause(&cause))?;
        Ok(layers)
    }
}

impl BuiltFiles {
    fn open(store: &Arc<Store>, layers: &Layers) -> Result<BuiltFiles> {
        let failed = |cause| failure::of_cause(&cause);
        let view = View::of(store, layers).map_err(failed)?;
        Ok(BuiltFiles { root: view.root().map_err(failed)?, layers: layers.clone(), _view: view })
    }

    /// The same for other builds, which take it for an image with this configuration.
    pub fn base(&self, mut config: ImageConfig) -> BuiltBase {
        config.rootfs.diff_ids = self.layers.diff_ids();
        BuiltBase { layers: self.layers.clone(), config }
    }

    /// `length` bytes of a file from `offset` on, fewer at its end. Blocking.
    pub fn read(&self, path: &str, offset: u64, length: Option<u64>) -> Result<Vec<u8>> {
        let mut file = self.root.open_file(relative(path)).map_err(|error| missing(path, error))?;
        let mut bytes = Vec::new();
        let wanted = length.unwrap_or(MAX_READ + 1).min(MAX_READ + 1);
        let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.take(wanted).read_to_end(&mut bytes));
        read.map_err(|error| Error::internal(format!("read `{path}`"), error))?;
        match bytes.len() as u64 > MAX_READ {
            true => Err(Error::invalid(format!("`{path}`: more than {MAX_READ} bytes at once"))),
            false => Ok(bytes),
        }
    }

    /// What is at a path; a link at its end stands for its target. Blocking.
    pub fn stat(&self, path: &str) -> Result<TreeEntry> {
        let file = self.root.resolve(relative(path), true).map_err(|error| missing(path, error))?;
        let stat = fs::fstat(file.as_fd()).map_err(|error| missing(path, error))?;
        let name = Path::new(path).file_name().unwrap_or_default();
        Ok(entry(name.as_bytes(), &stat, None))
    }

    /// What is in a directory, by name. Blocking.
    pub fn list(&self, path: &str) -> Result<Vec<TreeEntry>> {
        let dir = self.root.open_dir(relative(path)).map_err(|error| missing(path, error))?;
        let failed = |error| missing(path, error);
        let mut entries = Vec::new();
        for found in fs::read_dir(dir.as_fd()).map_err(failed)? {
            let stat = statat(dir.as_fd(), &found.name).map_err(failed)?;
            let link = stat.is_symlink().then(|| fs::readlinkat(dir.as_fd(), &found.name)).transpose();
            let link = link.map_err(failed)?.map(|text| text.as_os_str().as_bytes().to_vec());
            entries.push(entry(found.name.as_bytes(), &stat, link));
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }
}

fn relative(path: &str) -> &Path {
    let path = path.trim_start_matches('/');
    Path::new(if path.is_empty() { "." } else { path })
}

fn missing(path: &str, error: kiln_sys::Error) -> Error {
    match error.is_not_found() {
        // Clients of a build look for the system's own words.
        true => Error::not_found(format!("there is no `{path}` in the result: no such file or directory")),
        false => Error::invalid(format!("cannot read `{path}` of the result")).caused_by(error),
    }
}

fn entry(name: &[u8], stat: &Stat, link: Option<Vec<u8>>) -> TreeEntry {
    let node = match stat.file_type() {
        FileType::RegularFile => TreeNode::File(stat.size),
        FileType::Directory => TreeNode::Directory,
        FileType::Symlink => TreeNode::Symlink(link.unwrap_or_default()),
        FileType::Fifo => TreeNode::Fifo,
        _ => TreeNode::Special,
    };
    let (path, mode, mtime) = (name.to_vec(), stat.permissions(), nanoseconds(stat.mtime));
    TreeEntry { path, node, mode, uid: stat.uid, gid: stat.gid, mtime, xattrs: Vec::new() }
}
