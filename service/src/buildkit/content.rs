//! containerd's `Content`: images in OCI layouts of the client, brought into a folder of that form.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use kiln_engine::oci::layout::{INDEX_FILE, LAYOUT, LAYOUT_FILE, blob_path};
use kiln_engine::oci::parse::{Document, MAX_MANIFEST, parse_manifest};
use kiln_engine::oci::{Descriptor, Digest, Digester};
use kiln_engine::{Error, ErrorKind, Result};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::session::Session;

/// What is read with, and where the store is named.
pub(super) const READ: &str = "/containerd.services.content.v1.Content/Read";
const STORE: &str = "buildkit-attachable-store-id";
/// What images that are contexts are called among a client's stores.
const CONTEXTS: &str = "oci:";
/// The most documents of one image, and the most bytes of one of its blobs.
const MAX_DOCUMENTS: usize = 1000;
const MAX_BLOB: u64 = 64 << 30;
/// Bytes of a file that are read at once.
const BUFFER: usize = 128 << 10;

/// `containerd.services.content.v1.ReadContentRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ReadContentRequest {
    #[prost(string, tag = "1")]
    pub(super) digest: String,
    #[prost(int64, tag = "2")]
    pub(super) offset: i64,
    #[prost(int64, tag = "3")]
    pub(super) size: i64,
}

/// `containerd.services.content.v1.ReadContentResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ReadContentResponse {
    #[prost(int64, tag = "1")]
    pub(super) offset: i64,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) data: Vec<u8>,
}

/// Brings the image or index `digest` of the client's store into the layout `folder`, of an index what the client has.
/// Whoever takes it from there verifies it.
pub(super) async fn bring(session: &Session, store: &str, digest: &Digest, folder: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::internal("write a layout", error);
    std::fs::create_dir_all(folder.join(blob_path(digest)).parent().unwrap_or(folder)).map_err(failed)?;
    std::fs::write(folder.join(LAYOUT_FILE), LAYOUT).map_err(failed)?;
    let source = Source { session, store, folder };
    let (mut todo, mut seen) = (vec![digest.clone()], BTreeSet::from([digest.clone()]));
    let mut is_root = true;
    while let Some(digest) = todo.pop() {
        if seen.len() > MAX_DOCUMENTS {
            return Err(Error::invalid(format!("an image of more than {MAX_DOCUMENTS} documents")));
        }
        match source.fetch(&digest, MAX_MANIFEST as u64).await {
            // An index may name what the client did not get.
            Err(error) if !is_root && error.kind == ErrorKind::NotFound => continue,
            fetched => fetched?,
        }
        is_root = false;
        let bytes = std::fs::read(folder.join(blob_path(&digest))).map_err(failed)?;
        let document =
            parse_manifest(&bytes, None).map_err(|error| Error::invalid(format!("`{digest}`: {error}")))?;
        match document {
            Document::Manifest(manifest) => {
                for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    source.blob(blob).await?;
                }
            }
            Document::Index(index) => {
                let new = index
                    .manifests
                    .into_iter()
                    .map(|entry| entry.digest)
                    .filter(|it| seen.insert(it.clone()));
                todo.extend(new);
            }
        }
    }
    std::fs::write(folder.join(INDEX_FILE), b"{\"schemaVersion\":2,\"manifests\":[]}").map_err(failed)
}

/// A store's name; a client may say the tag of an image after it.
fn without_tag(store: &str) -> &str {
    match store.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => store,
    }
}

/// Whether a file is what a digest says.
fn is(path: &Path, digest: &Digest) -> bool {
    let mut digester = Digester::new(digest.algorithm());
    let mut read = || {
        let (mut file, mut buffer) = (File::open(path)?, vec![0; BUFFER]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok::<(), std::io::Error>(()),
                count => digester.update(&buffer[..count]),
            }
        }
    };
    read().is_ok() && digester.finish() == *digest
}

struct Source<'a> {
    session: &'a Session,
    store: &'a str,
    folder: &'a Path,
}

impl Source<'_> {
    async fn blob(&self, blob: &Descriptor) -> Result<()> {
        let path = self.folder.join(blob_path(&blob.digest));
        // What was cut short or changed is there by its name alone.
        if std::fs::metadata(&path).is_ok_and(|there| there.len() == blob.size) && is(&path, &blob.digest) {
            return Ok(());
        }
        self.fetch(&blob.digest, blob.size.min(MAX_BLOB)).await
    }

    /// Writes a blob of at most `limit` bytes.
    async fn fetch(&self, digest: &Digest, limit: u64) -> Result<()> {
        let wrong =
            |why: &str| Error::invalid(format!("`{digest}` of the client's store `{}`: {why}", self.store));
        let path = self.folder.join(blob_path(digest));
        let failed = |error: std::io::Error| Error::internal(format!("write `{digest}`"), error);
        std::fs::create_dir_all(path.parent().unwrap_or(self.folder)).map_err(failed)?;
        let mut file = File::create(&path).map_err(failed)?;
        let mut answers = self.read(digest).await.map_err(|status| self.of_status(digest, &status))?;
        let mut size = 0;
        while let Some(answer) = answers.message().await.map_err(|status| self.of_status(digest, &status))? {
            size += answer.data.len() as u64;
            if size > limit {
                return Err(wrong("it is larger than it may be"));
            }
            file.write_all(&answer.data).map_err(failed)?;
        }
        Ok(())
    }

    async fn read(
        &self,
        digest: &Digest,
    ) -> std::result::Result<tonic::Streaming<ReadContentResponse>, Status> {
        let mut client = tonic::client::Grpc::new(self.session.channel());
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(ReadContentRequest { digest: digest.to_string(), offset: 0, size: 0 });
        let store = format!("{CONTEXTS}{}", without_tag(self.store)).parse();
        let store = store.map_err(|_| Status::invalid_argument("the store's name is no word"))?;
        request.metadata_mut().insert(STORE, store);
        let codec: ProstCodec<ReadContentRequest, ReadContentResponse> = ProstCodec::default();
        let answers = client.server_streaming(request, PathAndQuery::from_static(READ), codec).await?;
        Ok(answers.into_inner())
    }

    fn of_status(&self, digest: &Digest, status: &Status) -> Error {
        let kind = match status.code() {
            tonic::Code::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Unavailable,
        };
        let message = status.message();
        Error::new(kind, format!("read `{digest}` of the client's store `{}`: {message}", self.store))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        std::fs::write(&path, b"right").unwrap();
        assert!(is(&path, &Digest::of(b"right")));
        std::fs::write(&path, b"wrong").unwrap();
        assert!(!is(&path, &Digest::of(b"right")), "the size alone says nothing");
        assert!(!is(&dir.path().join("none"), &Digest::of(b"right")));
    }
}
