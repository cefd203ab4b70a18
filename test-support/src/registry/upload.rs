//! Uploads: started, mounted, appended to, ended.

use kiln_oci::Digest;

use super::answer::{Answer, answer, failure};
use super::{Request, State, auth};

pub(super) fn respond(
    state: &mut State,
    request: &Request,
    repository: &str,
    id: &str,
    body: &[u8],
) -> Answer {
    match (request.method.as_str(), id) {
        ("POST", "") => start(state, request, repository),
        ("PATCH", id) => append(state, request, repository, id, body),
        ("PUT", id) => end(state, request, repository, id, body),
        ("GET", id) => match state.uploads.get(id) {
            Some(upload) => progress(204, state, repository, id, upload.len()),
            None => failure(404, "BLOB_UPLOAD_UNKNOWN"),
        },
        ("DELETE", id) => {
            state.uploads.remove(id);
            answer(204, &[], "")
        }
        _ => failure(405, "UNSUPPORTED"),
    }
}

fn field(request: &Request, name: &str) -> Option<String> {
    request.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(auth::decode)
}

fn start(state: &mut State, request: &Request, repository: &str) -> Answer {
    let mount = field(request, "mount").and_then(|digest| digest.parse::<Digest>().ok());
    if let (Some(digest), Some(from), false) = (mount, field(request, "from"), state.behaviour.refuse_mounts)
        && let Some(bytes) = state.blobs.get(&(from, digest.clone())).cloned()
    {
        state.blobs.insert((repository.to_owned(), digest.clone()), bytes);
        return created(repository, &digest);
    }
    let id = format!("upload-{}", state.requests.len());
    state.uploads.insert(id.clone(), Vec::new());
    progress(202, state, repository, &id, 0)
}

fn append(state: &mut State, request: &Request, repository: &str, id: &str, body: &[u8]) -> Answer {
    let Some(upload) = state.uploads.get_mut(id) else { return failure(404, "BLOB_UPLOAD_UNKNOWN") };
    let start =
        request.headers.get("content-range").and_then(|range| range.split('-').next()?.parse::<usize>().ok());
    if start.is_some_and(|start| start != upload.len()) {
        let len = upload.len();
        return progress(416, state, repository, id, len);
    }
    upload.extend_from_slice(body);
    let len = upload.len();
    progress(202, state, repository, id, len)
}

fn end(state: &mut State, request: &Request, repository: &str, id: &str, body: &[u8]) -> Answer {
    if state.behaviour.locations_with_query && field(request, "state").is_none() {
        return failure(400, "BLOB_UPLOAD_INVALID");
    }
    if state.behaviour.chunked_only && !body.is_empty() {
        return failure(400, "BLOB_UPLOAD_INVALID");
    }
    let Some(mut upload) = state.uploads.remove(id) else { return failure(404, "BLOB_UPLOAD_UNKNOWN") };
    upload.extend_from_slice(body);
    let Some(digest) = field(request, "digest").and_then(|digest| digest.parse::<Digest>().ok()) else {
        return failure(400, "DIGEST_INVALID");
    };
    if Digest::of(&upload) != digest {
        return failure(400, "DIGEST_INVALID");
    }
    state.blobs.insert((repository.to_owned(), digest.clone()), upload.into());
    created(repository, &digest)
}

fn created(repository: &str, digest: &Digest) -> Answer {
    let location = format!("/v2/{repository}/blobs/{digest}");
    answer(201, &[("location", &location), ("docker-content-digest", digest.as_str())], "")
}

fn progress(status: u16, state: &State, repository: &str, id: &str, len: usize) -> Answer {
    let origin = if state.behaviour.relative_locations { "" } else { &state.origin };
    let query = if state.behaviour.locations_with_query { "?state=abc" } else { "" };
    let location = format!("{origin}/v2/{repository}/blobs/uploads/{id}{query}");
    let range = format!("0-{}", len.saturating_sub(1));
    answer(status, &[("location", &location), ("range", &range)], "")
}
