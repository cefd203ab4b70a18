//! Blobs and manifests on their way out.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::{Descriptor, MediaType, Reference};
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Method, Response};

use crate::error::{ErrorKind, Result};
use crate::origin::locate;
use crate::resolve::told_digest;
use crate::session::Session;
use crate::transport::{Body, Request};
use crate::upload::Upload;

/// A blob's content, which can be opened again for another attempt. Opened and read on a blocking thread, which may wait there
/// for what is still being made.
pub trait BlobSource: Send + Sync + 'static {
    /// Opens the content from its start.
    fn open(&self) -> io::Result<Box<dyn Read + Send>>;
}

impl BlobSource for Bytes {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(io::Cursor::new(self.clone())))
    }
}

/// How a blob came to be in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry took it from another repository.
    Mounted,
    /// Its bytes were sent.
    Uploaded,
}

/// Whether the repository has a blob.
pub(crate) async fn exists(session: &Session, descriptor: &Descriptor) -> Result<bool> {
    let request = session.request(Method::HEAD, &format!("blobs/{}", descriptor.digest));
    let answer = session.send(&request).await?;
    match answer.status().as_u16() {
        200 => Ok(true),
        404 => Ok(false),
        _ => Err(request.rejected(answer).await),
    }
}

/// Makes the repository have a blob.
pub(crate) async fn push_blob(
    session: &Session,
    descriptor: &Descriptor,
    source: Arc<dyn BlobSource>,
    mount_from: Option<&str>,
) -> Result<Pushed> {
    if exists(session, descriptor).await? {
        return Ok(Pushed::Existed);
    }
    let (request, answer) = start(session, descriptor, mount_from).await?;
    if answer.status().as_u16() == 201 {
        return Ok(Pushed::Mounted);
    }
    let location = location(&request, &answer)?;
    Upload::new(session, descriptor, source, location).run().await?;
    Ok(Pushed::Uploaded)
}

/// Asks for a mount where there is something to mount, else for an upload. `201` is a mount, `202` an upload: a
/// registry that cannot mount starts an upload instead.
async fn start(
    session: &Session,
    descriptor: &Descriptor,
    mount_from: Option<&str>,
) -> Result<(Request, Response)> {
    if let Some(from) = mount_from {
        let mut request = session.request(Method::POST, "blobs/uploads/");
        request
            .url
            .query_pairs_mut()
            .append_pair("mount", descriptor.digest.as_str())
            .append_pair("from", from);
        // Not being allowed to read there, or a token server that knows only one scope, is no reason to fail.
        if let Ok(answer) = session.reading(from).send(&request).await
            && matches!(answer.status().as_u16(), 201 | 202)
        {
            return Ok((request, answer));
        }
    }
    begin(session).await
}

/// Starts an upload without a mount; where to send to.
pub(crate) async fn start_upload(session: &Session) -> Result<reqwest::Url> {
    let (request, answer) = begin(session).await?;
    location(&request, &answer)
}

async fn begin(session: &Session) -> Result<(Request, Response)> {
    let request = session.request(Method::POST, "blobs/uploads/");
    let answer = session.expect(&request, &[202]).await?;
    Ok((request, answer))
}

/// Where the upload goes on: maybe relative, maybe with a query, maybe on another host, which then gets no
/// credentials.
pub(crate) fn location(request: &Request, answer: &Response) -> Result<reqwest::Url> {
    locate(&request.url, answer.headers().get(LOCATION)).map_err(|reason| {
        request.error(ErrorKind::Refused, format!("the registry sends the upload {reason}"))
    })
}

/// Puts a manifest under the reference's tag, or under its digest.
pub(crate) async fn push_manifest(
    session: &Session,
    reference: &Reference,
    media_type: &MediaType,
    bytes: Bytes,
) -> Result<Descriptor> {
    put_manifest(session, reference, media_type, bytes).await.map(|(descriptor, _)| descriptor)
}

/// The same, with what the registry answered.
pub(crate) async fn put_manifest(
    session: &Session,
    reference: &Reference,
    media_type: &MediaType,
    bytes: Bytes,
) -> Result<(Descriptor, HeaderMap)> {
    let descriptor = Descriptor::of(media_type.clone(), &bytes);
    let target = reference.tag().unwrap_or(descriptor.digest.as_str());
    let request = session
        .request(Method::PUT, &format!("manifests/{target}"))
        .header(CONTENT_TYPE, media_type.as_str())
        .body(Body::Bytes(bytes));
    let answer = session.expect(&request, &[200, 201, 202]).await?;
    let told = told_digest(&request, answer.headers())?;
    if let Some(told) = told.filter(|told| told.algorithm() == descriptor.digest.algorithm())
        && told != descriptor.digest
    {
        let message = format!("the registry stored `{told}`, not `{}`", descriptor.digest);
        return Err(request.error(ErrorKind::Corrupt, message));
    }
    Ok((descriptor, answer.headers().clone()))
}
