//! Results that a client looks at: made when it does, and open for a while.

use std::sync::{Arc, Weak};

use bollard_buildkit_proto::fsutil::types::Stat;
use bollard_buildkit_proto::moby::buildkit::v1::frontend as wire;
use kiln_engine::build::{BuiltFiles, TreeEntry};
use kiln_graph::glob::Pattern;
use tokio::sync::Mutex;
use tonic::Status;

use super::super::{errors, packets};
use super::{Part, Work};

/// The most files of one directory that are told.
const MAX_LISTED: usize = 100_000;

/// A result.
pub(in super::super) struct Reference {
    pub(super) part: Part,
    /// Which target of the graph.
    pub(super) number: usize,
    files: Mutex<Weak<BuiltFiles>>,
}

impl Reference {
    pub(super) fn new(part: Part, number: usize) -> Reference {
        Reference { part, number, files: Mutex::default() }
    }

    /// Its files.
    pub(super) async fn files(&self, work: &Work) -> Result<Arc<BuiltFiles>, Status> {
        let mut open = self.files.lock().await;
        if let Some(files) = open.upgrade() {
            return Ok(files);
        }
        let files = Arc::new(self.make(work).await.map_err(|error| errors::status(&error))?);
        *open = Arc::downgrade(&files);
        work.job.gateway.keep_open(files.clone());
        Ok(files)
    }

    async fn make(&self, work: &Work) -> kiln_engine::Result<BuiltFiles> {
        let Part { prepared, sink, attributes } = &self.part;
        let request = work.request(attributes)?;
        work.check_sources(prepared).await?;
        let _turn = work.turn().await?;
        let cancel = work.job.cancel.clone();
        work.engine.built_files(prepared, self.number, &request, sink.clone(), cancel).await
    }
}

/// The bytes of a file, or some of them.
pub(super) async fn read(
    work: &Work,
    reference: &Reference,
    request: &wire::ReadFileRequest,
) -> Result<Vec<u8>, Status> {
    let files = reference.files(work).await?;
    let range = request.range.unwrap_or_default();
    let offset = u64::try_from(range.offset).map_err(|_| Status::invalid_argument("an offset below zero"))?;
    let length = u64::try_from(range.length).ok().filter(|length| *length > 0);
    blocking(&files, {
        let path = request.file_path.clone();
        move |files| files.read(&path, offset, length)
    })
    .await
}

/// What is in a directory, as far as its name fits the pattern.
pub(super) async fn list(
    work: &Work,
    reference: &Reference,
    request: &wire::ReadDirRequest,
) -> Result<Vec<Stat>, Status> {
    let files = reference.files(work).await?;
    let path = request.dir_path.clone();
    let entries = blocking(&files, move |files| files.list(&path)).await?;
    let pattern = match request.include_pattern.as_str() {
        "" => None,
        text => Some(Pattern::new(text).map_err(|error| Status::invalid_argument(error.to_string()))?),
    };
    let fits = |entry: &TreeEntry| pattern.as_ref().is_none_or(|pattern| pattern.matches(&entry.path));
    Ok(entries.iter().filter(|entry| fits(entry)).filter_map(packets::stat).take(MAX_LISTED).collect())
}

/// What is at a path.
pub(super) async fn stat(
    work: &Work,
    reference: &Reference,
    request: &wire::StatFileRequest,
) -> Result<Stat, Status> {
    let files = reference.files(work).await?;
    let path = request.path.clone();
    let entry = blocking(&files, move |files| files.stat(&path)).await?;
    packets::stat(&entry).ok_or_else(|| Status::internal("the name of the file is no text"))
}

async fn blocking<T: Send + 'static>(
    files: &Arc<BuiltFiles>,
    look: impl FnOnce(&BuiltFiles) -> kiln_engine::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let files = files.clone();
    let looked = tokio::task::spawn_blocking(move || look(&files)).await;
    let looked = looked.map_err(|error| Status::internal(format!("look at a result: {error}")))?;
    looked.map_err(|error| errors::status(&error))
}
