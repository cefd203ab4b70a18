//! The requests of distribution-spec.

use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kiln_oci::Digest;

use super::answer::{Answer, answer, failure};
use super::{Request, State, auth, fault, lock, upload};

/// Answers one request, or spoils the answer as a fault demands.
pub(super) async fn handle(state: &Mutex<State>, request: hyper::Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let request = Request {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
    };
    let fault = {
        let mut state = lock(state);
        state.requests.push(request.clone());
        fault::take(&mut state.faults, &request.method, &request.path)
    };
    if let Some(fault) = &fault
        && let Some(answer) = fault::instead(fault).await
    {
        return answer;
    }
    let Ok(body) = body.collect().await else { return failure(400, "BODY_CUT") };
    let right = respond(&mut lock(state), &request, body.to_bytes());
    match fault {
        Some(fault) => fault::spoil(fault, right),
        None => right,
    }
}

/// Repository and the rest of a path after `/v2/`.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix("/v2/")?;
    let at = ["/manifests/", "/blobs/", "/tags/"].iter().filter_map(|part| path.rfind(part)).max()?;
    Some((&path[..at], &path[at + 1..]))
}

fn respond(state: &mut State, request: &Request, body: Bytes) -> Answer {
    if request.path == "/token" {
        return auth::give_token(state, request, &body);
    }
    if let Some(refusal) = auth::refuse(state, request) {
        return refusal;
    }
    if request.path == "/v2/" {
        return answer(200, &[], "{}");
    }
    let Some((repository, rest)) = split(&request.path) else { return failure(404, "NAME_UNKNOWN") };
    if let Some(target) = rest.strip_prefix("manifests/") {
        return manifest(state, request, repository, target, body);
    }
    if rest == "tags/list" {
        return tags(state, request, repository);
    }
    if let Some(rest) = rest.strip_prefix("blobs/uploads/") {
        return upload::respond(state, request, repository, rest, &body);
    }
    blob(state, request, repository, rest.trim_start_matches("blobs/"))
}

fn manifest(state: &mut State, request: &Request, repository: &str, target: &str, body: Bytes) -> Answer {
    if request.method == "PUT" {
        let media_type = request.headers.get("content-type").cloned().unwrap_or_default();
        let digest = Digest::of(&body).to_string();
        state.put_manifest(repository, target, &media_type, body);
        return answer(201, &[("docker-content-digest", &digest)], "");
    }
    let Some(stored) = state.manifests.get(&(repository.to_owned(), target.to_owned())) else {
        return failure(404, "MANIFEST_UNKNOWN");
    };
    let digest = Digest::of(&stored.bytes).to_string();
    let headers = [("content-type", stored.media_type.as_str()), ("docker-content-digest", &digest)];
    content(request, 200, &headers, stored.bytes.clone())
}

fn blob(state: &State, request: &Request, repository: &str, digest: &str) -> Answer {
    let Ok(digest) = digest.parse::<Digest>() else { return failure(400, "DIGEST_INVALID") };
    let Some(bytes) = state.blobs.get(&(repository.to_owned(), digest)) else {
        return failure(404, "BLOB_UNKNOWN");
    };
    if let (Some(origin), "GET") = (&state.behaviour.redirect_blobs_to, request.method.as_str()) {
        return answer(307, &[("location", &format!("{origin}{}", request.path))], "");
    }
    let start = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let start = start.and_then(|(start, _)| start.parse::<usize>().ok());
    match start.filter(|_| !state.behaviour.ignore_ranges) {
        Some(start) if start >= bytes.len() => failure(416, "RANGE_INVALID"),
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            content(request, 206, &[("content-range", &range)], bytes.slice(start..))
        }
        None => content(request, 200, &[], bytes.clone()),
    }
}

/// An answer with a body, or for HEAD with its length only.
fn content(request: &Request, status: u16, headers: &[(&str, &str)], bytes: Bytes) -> Answer {
    let length = bytes.len().to_string();
    if request.method == "HEAD" {
        return answer(status, &[headers, &[("content-length", &length)]].concat(), "");
    }
    answer(status, headers, bytes)
}

fn tags(state: &State, request: &Request, repository: &str) -> Answer {
    let own = state.manifests.keys().filter(|(name, target)| name == repository && !target.contains(':'));
    let mut tags: Vec<&str> = own.map(|(_, target)| target.as_str()).collect();
    tags.sort_unstable();
    let last = request.query.split('&').find_map(|pair| pair.strip_prefix("last=")).unwrap_or_default();
    tags.retain(|tag| *tag > last);
    let page = state.behaviour.tags_per_page.unwrap_or(usize::MAX);
    let more = tags.len() > page;
    tags.truncate(page);
    let link = more.then(|| format!("</v2/{repository}/tags/list?last={}>; rel=\"next\"", tags[page - 1]));
    let body = serde_json::json!({ "name": repository, "tags": tags }).to_string();
    let headers: Vec<(&str, &str)> = link.iter().map(|link| ("link", link.as_str())).collect();
    answer(200, &headers, body)
}
