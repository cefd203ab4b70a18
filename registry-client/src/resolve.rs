//! From references to verified documents.

use bytes::Bytes;
use kiln_oci::parse::{Document, MAX_MANIFEST, parse_manifest};
use kiln_oci::verify::verify;
use kiln_oci::{Descriptor, Digest, Digester, MediaType, Reference};
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Response};
use serde::Deserialize;

use crate::error::{ErrorKind, Result};
use crate::origin::{Origin, locate};
use crate::session::Session;
use crate::transport::{Request, read_limited};

/// The header in which a registry tells the digest of what it sends.
const CONTENT_DIGEST: &str = "docker-content-digest";
/// The most pages of a list of tags.
const MAX_TAG_PAGES: usize = 1000;
/// The most bytes of all pages of a list of tags.
const MAX_TAG_BYTES: usize = 64 << 20;

/// What a reference names.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The document's media type, digest and size.
    pub descriptor: Descriptor,
    /// The document's bytes, verified.
    pub bytes: Bytes,
    /// The document, parsed from these bytes.
    pub document: Document,
    /// The host that answered: the registry or a mirror.
    pub host: String,
}

/// All kinds of document that kiln understands, in one `Accept`.
fn accepted() -> String {
    [MediaType::OCI_INDEX, MediaType::DOCKER_INDEX, MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST]
        .join(", ")
}

/// Gets the document that `reference` names.
pub(crate) async fn resolve(session: &Session, reference: &Reference) -> Result<Resolved> {
    let (request, headers, bytes) = get(session, reference.target()).await?;
    let told = told_digest(&request, &headers)?;
    let algorithm = reference.digest().or(told.as_ref()).map(Digest::algorithm);
    let mut digester = algorithm.map_or_else(Digester::sha256, Digester::new);
    digester.update(&bytes);
    let digest = digester.finish();
    for promised in
        reference.digest().iter().copied().chain(&told).filter(|d| d.algorithm() == digest.algorithm())
    {
        if *promised != digest {
            let message = format!("the manifest is `{digest}`, not `{promised}`");
            return Err(request.error(ErrorKind::Corrupt, message));
        }
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let document = parse(&request, &bytes, content_type)?;
    let descriptor = Descriptor::new(media_type(&document), digest, bytes.len() as u64);
    Ok(Resolved { descriptor, bytes, document, host: session.endpoint.name.clone() })
}

/// Asks what `reference` names without getting it; `None` where the registry does not tell.
pub(crate) async fn head(session: &Session, reference: &Reference) -> Result<Option<Descriptor>> {
    let request = session
        .request(Method::HEAD, &format!("manifests/{}", reference.target()))
        .header(ACCEPT, &accepted());
    let answer = session.expect(&request, &[200]).await?;
    let digest = told_digest(&request, answer.headers())?;
    let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let size = text(CONTENT_LENGTH).and_then(|size| size.parse::<u64>().ok());
    let media_type = text(CONTENT_TYPE).map(MediaType::new);
    Ok(digest
        .zip(size)
        .zip(media_type)
        .map(|((digest, size), media_type)| Descriptor::new(media_type, digest, size)))
}

/// Gets the document that `descriptor` names.
pub(crate) async fn manifest(session: &Session, descriptor: &Descriptor) -> Result<Bytes> {
    let (request, _, bytes) = get(session, descriptor.digest.as_str()).await?;
    verify(&bytes, descriptor).map_err(|error| corrupt(&request, error))?;
    parse(&request, &bytes, Some(descriptor.media_type.as_str()))?;
    Ok(bytes)
}

async fn get(session: &Session, target: &str) -> Result<(Request, HeaderMap, Bytes)> {
    let request = session.request(Method::GET, &format!("manifests/{target}")).header(ACCEPT, &accepted());
    let answer = session.expect(&request, &[200]).await?;
    let headers = answer.headers().clone();
    let bytes = body(&request, answer, MAX_MANIFEST).await?;
    Ok((request, headers, bytes))
}

/// The whole of an answer's body.
pub(crate) async fn body(request: &Request, answer: Response, limit: usize) -> Result<Bytes> {
    let failed =
        || request.error(ErrorKind::Invalid, format!("the answer breaks off or has more than {limit} bytes"));
    read_limited(answer, limit).await.ok_or_else(failed)
}

fn parse(request: &Request, bytes: &[u8], content_type: Option<&str>) -> Result<Document> {
    let refused = |error| request.error(ErrorKind::Invalid, "the manifest is refused").with_source(error);
    parse_manifest(bytes, content_type).map_err(refused)
}

pub(crate) fn corrupt(request: &Request, error: kiln_oci::verify::VerifyError) -> crate::Error {
    request.error(ErrorKind::Corrupt, "the content is not what was asked for").with_source(error)
}

/// What the document says it is; where it does not say, the OCI type of its kind.
fn media_type(document: &Document) -> MediaType {
    let (own, default) = match document {
        Document::Manifest(manifest) => (&manifest.media_type, MediaType::OCI_MANIFEST),
        Document::Index(index) => (&index.media_type, MediaType::OCI_INDEX),
    };
    own.clone().unwrap_or_else(|| default.into())
}

/// The digest that an answer's header tells; one that cannot be parsed is an error, not nothing.
pub(crate) fn told_digest(request: &Request, headers: &HeaderMap) -> Result<Option<Digest>> {
    let Some(value) = headers.get(CONTENT_DIGEST) else { return Ok(None) };
    let digest = value.to_str().ok().and_then(|text| text.parse().ok());
    let malformed = || request.error(ErrorKind::Invalid, "the registry tells a malformed digest");
    digest.map(Some).ok_or_else(malformed)
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

/// Gets all pages of a repository's list of tags.
pub(crate) async fn tags(session: &Session) -> Result<Vec<String>> {
    let mut request = session.request(Method::GET, "tags/list");
    let mut tags = Vec::new();
    let mut bytes_left = MAX_TAG_BYTES;
    for _ in 0..MAX_TAG_PAGES {
        let answer = session.expect(&request, &[200]).await?;
        let next = next_page(&request, answer.headers())?;
        let page = body(&request, answer, bytes_left).await?;
        bytes_left -= page.len();
        let malformed =
            |error| request.error(ErrorKind::Invalid, "the list of tags is malformed").with_source(error);
        let page: Tags = serde_json::from_slice(&page).map_err(malformed)?;
        tags.extend(page.tags.unwrap_or_default());
        let Some(next) = next else { return Ok(tags) };
        request = next;
    }
    Err(request.error(ErrorKind::Invalid, format!("the list of tags has more than {MAX_TAG_PAGES} pages")))
}

/// The request for the page that a `Link` header names (RFC 8288), which must be the registry's own.
pub(crate) fn next_page(request: &Request, headers: &HeaderMap) -> Result<Option<Request>> {
    let Some(link) = headers.get("link").and_then(|value| value.to_str().ok()) else { return Ok(None) };
    let target = link.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    let Some((target, parameters)) = target else { return Ok(None) };
    if !parameters.replace('"', "").contains("rel=next") {
        return Ok(None);
    }
    let target = target.parse().ok();
    let url = locate(&request.url, target.as_ref()).ok();
    let url = url.filter(|url| Origin::of(url) == Origin::of(&request.url));
    let refused = || request.error(ErrorKind::Refused, "the next page of the list is elsewhere");
    url.map(|url| Some(Request::new(Method::GET, url))).ok_or_else(refused)
}
