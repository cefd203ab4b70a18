//! Referrers: manifests whose `subject` is another one, listed and pushed (distribution-spec 1.1).
//!
//! A registry that knows them lists them by itself. For one that does not, their list is an index under a tag made of the
//! subject's digest, which whoever pushes keeps up to date. Two who push at the same moment may lose one entry of it: the
//! specification has nothing against that.

use bytes::Bytes;
use kiln_oci::parse::{Document, MAX_MANIFEST, parse_manifest};
use kiln_oci::{Descriptor, Digest, Index, MediaType, Reference};
use reqwest::Method;
use reqwest::header::ACCEPT;

use crate::error::{ErrorKind, Result};
use crate::push::{push_manifest, put_manifest};
use crate::resolve::{body, next_page, resolve};
use crate::session::Session;
use crate::transport::Request;

/// The header by which a registry says that it lists what it was just sent.
const SUBJECT: &str = "oci-subject";
/// The most pages of a list.
const MAX_PAGES: usize = 100;
/// The most referrers of one subject.
const MAX_REFERRERS: usize = 1000;

/// How a registry came to list a referrer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// By itself.
    ByRegistry,
    /// Under the tag that is the fallback.
    ByTag,
}

/// What refers to `subject`, of `artifact_type` where one is given.
pub(crate) async fn list(
    session: &Session,
    reference: &Reference,
    subject: &Digest,
    artifact_type: Option<&str>,
) -> Result<Vec<Descriptor>> {
    let mut found = match known(session, subject, artifact_type).await? {
        Some(found) => found,
        None => tagged(session, reference, subject).await?.map(|index| index.manifests).unwrap_or_default(),
    };
    // A registry need not filter, and a tag's index cannot.
    found.retain(|entry| artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted)));
    found.truncate(MAX_REFERRERS);
    Ok(found)
}

/// What the registry lists; `None` where it knows nothing of referrers.
async fn known(
    session: &Session,
    subject: &Digest,
    artifact_type: Option<&str>,
) -> Result<Option<Vec<Descriptor>>> {
    let mut request = session.request(Method::GET, &format!("referrers/{subject}"));
    if let Some(artifact_type) = artifact_type {
        request.url.query_pairs_mut().append_pair("artifactType", artifact_type);
    }
    let mut found = Vec::new();
    for _ in 0..MAX_PAGES {
        request = request.header(ACCEPT, MediaType::OCI_INDEX);
        let answer = session.send(&request).await?;
        match answer.status().as_u16() {
            200 => {}
            // A registry that knows them answers 200 for what nothing refers to.
            400 | 404 | 405 if found.is_empty() => return Ok(None),
            _ => return Err(request.rejected(answer).await),
        }
        let next = next_page(&request, answer.headers())?;
        let Some(index) = index(&request, &body(&request, answer, MAX_MANIFEST).await?)? else {
            return Ok(None);
        };
        found.extend(index.manifests);
        match next {
            Some(next) if found.len() < MAX_REFERRERS => request = next,
            _ => break,
        }
    }
    Ok(Some(found))
}

/// A page as an index; `None` where it is none, as of a server that answers everything with a page of its own.
fn index(request: &Request, page: &[u8]) -> Result<Option<Index>> {
    let is_json = page.trim_ascii_start().first() == Some(&b'{');
    let refused =
        |error| request.error(ErrorKind::Invalid, "the list of referrers is refused").with_source(error);
    match is_json.then(|| parse_manifest(page, None)).transpose().map_err(refused)? {
        Some(Document::Index(index)) => Ok(Some(index)),
        _ => Ok(None),
    }
}

/// The index under the fallback tag: an empty one where there is none, none where something else is there.
async fn tagged(session: &Session, reference: &Reference, subject: &Digest) -> Result<Option<Index>> {
    match resolve(session, &reference.of_referrers(subject)).await {
        Ok(resolved) => match resolved.document {
            Document::Index(index) => Ok(Some(index)),
            Document::Manifest(_) => Ok(None),
        },
        Err(error) if error.kind == ErrorKind::NotFound => Ok(Some(Index::new(Vec::new()))),
        Err(error) => Err(error),
    }
}

/// Puts a manifest that refers to `subject`, and makes sure that it is listed.
pub(crate) async fn push(
    session: &Session,
    reference: &Reference,
    subject: &Digest,
    referrer: &Descriptor,
    bytes: Bytes,
) -> Result<Listed> {
    let place = reference.without_tag();
    let (_, headers) = put_manifest(session, &place, &referrer.media_type, bytes).await?;
    if headers.contains_key(SUBJECT) {
        return Ok(Listed::ByRegistry);
    }
    let tag = reference.of_referrers(subject);
    let Some(mut index) = tagged(session, reference, subject).await? else {
        let request = session.request(Method::GET, &format!("manifests/{}", tag.target()));
        let message = "the tag for the list of referrers is another manifest; remove it to push statements";
        return Err(request.error(ErrorKind::Refused, message));
    };
    if index.manifests.iter().any(|entry| entry.digest == referrer.digest) {
        return Ok(Listed::ByTag);
    }
    index.manifests.push(referrer.clone());
    let media_type = MediaType::new(MediaType::OCI_INDEX);
    push_manifest(session, &tag, &media_type, index.to_bytes().into()).await?;
    Ok(Listed::ByTag)
}
