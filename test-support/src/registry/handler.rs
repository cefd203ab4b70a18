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
    let at = ["/manifests/", "/blobs/", "/tags/", "/referrers/"]
        .iter()
        .filter_map(|part| path.rfind(part))
        .max()?;
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
    if let Some(subject) = rest.strip_prefix("referrers/") {
        return referrers(state, request, repository, subject);
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
        let subject = subject_of(&body).filter(|_| state.behaviour.referrers_per_page.is_some());
        state.put_manifest(repository, target, &media_type, body);
        let subject = subject.iter().map(|subject| ("oci-subject", subject.as_str()));
        let headers: Vec<(&str, &str)> =
            [("docker-content-digest", digest.as_str())].into_iter().chain(subject).collect();
        return answer(201, &headers, "");
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

fn subject_of(manifest: &[u8]) -> Option<String> {
    let manifest: serde_json::Value = serde_json::from_slice(manifest).ok()?;
    manifest["subject"]["digest"].as_str().map(str::to_owned)
}

/// An index of what names `subject`, in the order of the digests.
fn referrers(state: &State, request: &Request, repository: &str, subject: &str) -> Answer {
    let Some(page) = state.behaviour.referrers_per_page else { return failure(404, "UNSUPPORTED") };
    let by_digest =
        state.manifests.iter().filter(|((name, target), _)| name == repository && target.contains(':'));
    let mut found: Vec<(&str, serde_json::Value)> = by_digest
        .filter(|(_, stored)| subject_of(&stored.bytes).as_deref() == Some(subject))
        .map(|((_, digest), stored)| {
            let manifest: serde_json::Value = serde_json::from_slice(&stored.bytes).unwrap_or_default();
            let entry = serde_json::json!({
                "mediaType": stored.media_type,
                "digest": digest,
                "size": stored.bytes.len(),
                "artifactType": manifest["artifactType"],
                "annotations": manifest.get("annotations").cloned().unwrap_or_else(|| serde_json::json!({})),
            });
            (digest.as_str(), entry)
        })
        .collect();
    found.sort_by_key(|(digest, _)| *digest);
    let last = request.query.split('&').find_map(|pair| pair.strip_prefix("last=")).unwrap_or_default();
    found.retain(|(digest, _)| *digest > last);
    let more = found.len() > page;
    found.truncate(page);
    let link = more
        .then(|| format!("</v2/{repository}/referrers/{subject}?last={}>; rel=\"next\"", found[page - 1].0));
    let manifests: Vec<&serde_json::Value> = found.iter().map(|(_, entry)| entry).collect();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests })
        .to_string();
    let headers: Vec<(&str, &str)> =
        link.iter().map(|link| ("link", link.as_str())).chain([("content-type", media_type)]).collect();
    answer(200, &headers, index)
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
