//! Filesystems that are had before there is a graph: a source by itself, and a tar that somebody sends.

use std::io::{BufReader, Read};
use std::sync::Arc;

use kiln_graph::{Definition, Op, SourceOp, VertexMeta};
use kiln_oci::compression::decompress_archive;
use kiln_oci::{ImageConfig, Platform};
use kiln_snapshot::{ApplyOptions, apply};
use tokio_util::sync::CancellationToken;

use crate::attest::Attest;
use crate::build::{BuildJob, Builder, Target};
use crate::entitlements::Entitlements;
use crate::error::{BuildError, Cause};
use crate::progress::ProgressSink;
use crate::session::Session;
use crate::stores::Stores;
use crate::value::Layers;
use crate::workspace::Workspace;

/// How much of a stream [`is_archive`] wants to see.
pub const HEAD: usize = 512;
/// What is read at once of a tar.
const BUFFER: usize = 256 << 10;

/// Whether a stream that begins with `head` is a tar, perhaps compressed, rather than a text.
pub fn is_archive(head: &[u8]) -> bool {
    const MAGIC: [&[u8]; 4] = [b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    // The header of a tar is filled up with zeros, which no text has.
    let is_tar = head.len() >= HEAD && head[..HEAD].contains(&0);
    is_tar || MAGIC.iter().any(|magic| head.starts_with(magic))
}

/// The files of a tar as a filesystem of its own, which is gone when nobody holds it. Blocking.
pub fn unpack(stores: &Stores, tar: impl Read) -> Result<Layers, Cause> {
    let workspace = Workspace::on(&stores.store, &Layers::scratch())?;
    let options = ApplyOptions { fresh: true, devices: false, whiteouts: false, ..ApplyOptions::default() };
    apply(decompress_archive(BufReader::with_capacity(BUFFER, tar)), &workspace.root()?, &options)?;
    workspace.commit()
}

impl Builder {
    /// The files of a source, shown as a step `name`.
    pub async fn source(
        &self,
        name: &str,
        source: SourceOp,
        session: Session,
        progress: Arc<dyn ProgressSink>,
        cancel: CancellationToken,
    ) -> Result<Layers, BuildError> {
        let mut definition = Definition::new();
        let failed =
            |error: kiln_graph::DefinitionError| BuildError::of(name, Cause::Invalid(error.to_string()));
        let meta = VertexMeta::named(name.to_owned());
        let root = definition.add(Op::Source(source), Vec::new(), meta).map_err(failed)?.output();
        let platform = Platform::host();
        let config = ImageConfig::empty(platform.clone());
        let job = BuildJob {
            definition: Arc::new(definition),
            targets: vec![Target { platform, root: Some(root), config, base_layers: 0 }],
            multi_platform: false,
            exports: Vec::new(),
            others: Vec::new(),
            attest: Attest::default(),
            session,
            allow: Entitlements::default(),
            progress,
            jobs: 1,
            no_cache: false,
            explain: false,
            epoch: None,
            cancel,
        };
        Ok(self.solve(&job).await?.pop().unwrap_or_else(Layers::scratch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_and_texts_are_told_apart() {
        let mut tar = [0; HEAD];
        tar[..4].copy_from_slice(b"name");
        for archive in [&tar[..], b"\x1f\x8b\x08\0", b"BZh91AY", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"] {
            assert!(is_archive(archive));
        }
        for text in [&b""[..], b"FROM scratch\n", &[b'#'; 2 * HEAD], b"BZ", &[0; 10]] {
            assert!(!is_archive(text));
        }
    }
}
