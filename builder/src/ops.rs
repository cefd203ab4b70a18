//! What a vertex does, one op a file, and the one place that knows them all.

mod credentials;
pub mod diff;
pub mod exec;
pub mod file;
pub mod git;
pub mod http;
pub mod image;
pub mod local;
pub mod merge;
pub mod oci_layout;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use kiln_graph::{Definition, SourceOp, Vertex, VertexId};
use kiln_oci::Digest;
use kiln_oci::compression::Packing;

use crate::error::Cause;
use crate::flight::Crowd;
use crate::forms::{self, Forms};
use crate::progress::Reporter;
use crate::session::{Session, Wanted};
use crate::stores::Stores;
use crate::value::Value;

/// What a vertex is to the solver: parts of keys, and a way to run it. One instance a vertex and job.
pub trait Op: Send + Sync {
    /// The op's part of the definition key; says everything that the result depends on, inputs aside.
    fn definition(&self) -> Digest;

    /// The op's part of the content key; may leave out what the inputs' content says better.
    fn content_definition(&self) -> Digest {
        self.definition()
    }

    /// For a source: what it is, as of now, once for the job. `None` for an op with inputs. One that comes with its
    /// value reports that it started.
    fn pin<'a>(
        &'a self,
        _session: &'a Session,
        _reporter: &'a dyn Reporter,
    ) -> BoxFuture<'a, Result<Option<Pin>, Cause>> {
        Box::pin(async { Ok(None) })
    }

    /// The digest of what the op uses of its input number `input`.
    fn content<'a>(&'a self, _input: usize, value: &'a Value) -> BoxFuture<'a, Result<Digest, Cause>> {
        Box::pin(async move { Ok(value.digest()) })
    }

    /// Makes the outputs.
    fn run<'a>(&'a self, inputs: Vec<Value>, crowd: &'a Crowd) -> BoxFuture<'a, Result<Vec<Value>, Cause>>;

    /// Whether its result is files of its inputs, so that what changed in those is seen in it.
    fn shows_files(&self) -> bool {
        false
    }

    /// Whether its result is remembered; a source's is not, its parts are remembered where they are.
    fn remembered(&self) -> bool {
        true
    }
}

/// What a source turned out to be.
#[derive(Debug, Clone)]
pub struct Pin {
    /// Its identity: the digest of a manifest and platform, of a tree, of a commit.
    pub identity: Digest,
    /// Its value, where pinning it was having it.
    pub value: Option<Value>,
}

/// The op of a vertex; git references are pinned in `pins`, and described layers made in `forms`.
fn resolve(stores: &Arc<Stores>, vertex: &Vertex, pins: &Arc<git::Pins>, forms: Forms) -> Arc<dyn Op> {
    let digests = Digests { definition: vertex.op.digest(), content: vertex.op.content_digest() };
    match &vertex.op {
        kiln_graph::Op::Source(SourceOp::Image { reference, platform }) => {
            Arc::new(image::ImageOp::new(stores.clone(), reference.clone(), platform.clone()))
        }
        kiln_graph::Op::Source(SourceOp::Local { name, include, exclude, follow }) => {
            let (name, include) = (name.clone(), include.clone());
            let (exclude, follow) = (exclude.clone(), follow.clone());
            let wanted = Wanted { name, include, exclude, follow, purpose: "" };
            Arc::new(local::LocalOp::new(stores.clone(), wanted))
        }
        kiln_graph::Op::Source(SourceOp::Http { url, checksum, filename, mode, owner }) => {
            let (url, checksum, filename) = (url.clone(), checksum.clone(), filename.clone());
            let wanted = http::Wanted { url, checksum, filename, mode: mode.clone(), owner: owner.clone() };
            Arc::new(http::HttpOp::new(stores.clone(), wanted))
        }
        kiln_graph::Op::Source(SourceOp::Git {
            remote,
            reference,
            subdir,
            checksum,
            keep_git_dir,
            submodules,
            times,
            fetch_by_commit,
            access,
        }) => {
            let wanted = git::Wanted {
                remote: remote.clone(),
                reference: reference.clone(),
                subdir: subdir.clone(),
                checksum: checksum.clone(),
                keep_git_dir: *keep_git_dir,
                submodules: *submodules,
                times: *times,
                fetch_by_commit: *fetch_by_commit,
                access: access.clone(),
            };
            Arc::new(git::GitOp::new(stores.clone(), wanted, pins.clone()))
        }
        kiln_graph::Op::Source(SourceOp::OciLayout { store, digest, platform }) => Arc::new(
            oci_layout::OciLayoutOp::new(stores.clone(), store.clone(), digest.clone(), platform.clone()),
        ),
        kiln_graph::Op::Exec(exec) => Arc::new(exec::Exec::new(stores.clone(), exec.clone(), digests)),
        kiln_graph::Op::File(file) => Arc::new(file::File::new(stores.clone(), file.clone(), digests, forms)),
        kiln_graph::Op::Merge(_) => Arc::new(merge::Merge::new(stores.clone(), digests)),
        kiln_graph::Op::Diff(diff) => Arc::new(diff::Diff::new(stores.clone(), *diff, digests)),
    }
}

/// The ops of a definition, in the order of its vertices. `packing` says with what the layer of a vertex will be packed.
pub fn resolve_all(
    stores: &Arc<Stores>,
    definition: &Definition,
    packing: impl Fn(VertexId) -> Option<Packing>,
) -> Vec<Arc<dyn Op>> {
    let (pins, shown) = (Arc::default(), forms::shown(definition));
    let forms = |id| Forms { unpacked: shown.contains(&id), packing: packing(id) };
    definition.vertices().map(|(id, vertex)| resolve(stores, vertex, &pins, forms(id))).collect()
}

/// The two digests of an op in the graph.
#[derive(Debug, Clone)]
pub struct Digests {
    /// For keys by definition.
    pub definition: Digest,
    /// For keys by content.
    pub content: Digest,
}
