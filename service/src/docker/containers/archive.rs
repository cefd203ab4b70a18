//! `docker cp`: files of a container as tars, out and in.

use std::io::Write as _;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_engine::Error;
use kiln_engine::containers::files::{FileStat, WriteOptions};
use serde::Serialize;

use crate::docker::params::Params;
use crate::docker::stream::{BodyReader, BodyWriter, channel};
use crate::docker::{Answer, Daemon, Failure, task};

const STAT: &str = "x-docker-container-path-stat";

/// Go's `os.FileMode`: its bits for kinds and for what is beside the permissions, each with that of `st_mode`.
const KIND: u32 = 0o170_000;
const KINDS: [(u32, u32); 6] = [
    (0o040_000, 1 << 31),
    (0o120_000, 1 << 27),
    (0o060_000, 1 << 26),
    (0o020_000, 1 << 26 | 1 << 21),
    (0o010_000, 1 << 25),
    (0o140_000, 1 << 24),
];
const SPECIAL: [(u32, u32); 3] = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];

/// The header's document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PathStat<'a> {
    name: &'a str,
    size: u64,
    mode: u32,
    mtime: &'a str,
    link_target: &'a str,
}

/// `GET` and `HEAD /containers/{id}/archive`
pub(super) async fn get(
    State(daemon): State<Daemon>,
    Path(name): Path<String>,
    method: Method,
    params: Params,
) -> Answer {
    let path = path(&params)?;
    let id = super::find(&daemon, &name).await?.id;
    let (engine, asked) = (daemon.engine.clone(), path.clone());
    let opened = task::long("look at files", move || {
        let files = engine.containers().files(&id)?;
        let stat = files.stat(&asked)?;
        Ok((files, stat))
    });
    let (files, stat) = opened.await.map_err(|error| missing(error, &name, &path))?;
    let head = [(header::HeaderName::from_static(STAT), encoded(&stat)?)];
    if method == Method::HEAD {
        return Ok((head, Body::empty()).into_response());
    }
    let (sender, body) = channel();
    task::thread("read files", move || {
        let mut writer = BodyWriter::new(sender.clone());
        let read = files.read(&path, &mut writer);
        let flushed = writer.flush();
        if let Some(error) = read.err().map(|error| error.chain()).or(flushed.err().map(|e| e.to_string())) {
            // The connection is cut, so that nobody takes a part for the whole.
            let _ = sender.blocking_send(Err(std::io::Error::other(error)));
        }
    })?;
    Ok((head, [(header::CONTENT_TYPE, "application/x-tar")], body).into_response())
}

/// `PUT /containers/{id}/archive`
pub(super) async fn put(
    State(daemon): State<Daemon>,
    Path(name): Path<String>,
    params: Params,
    body: Body,
) -> Answer {
    let path = path(&params)?;
    let id = super::find(&daemon, &name).await?.id;
    let options = WriteOptions {
        keep_kinds: params.is_on("noOverwriteDirNonDir"),
        as_container_user: params.is_on("copyUIDGID"),
    };
    let (engine, asked, tar) = (daemon.engine.clone(), path.clone(), BodyReader::new(body));
    let written =
        task::long("write files", move || engine.containers().files(&id)?.write(&asked, tar, options)).await;
    written.map_err(|error| missing(error, &name, &path))?;
    Ok((StatusCode::OK, Body::empty()).into_response())
}

fn path(params: &Params) -> Result<String, Failure> {
    params
        .text("path")
        .map(str::to_owned)
        .ok_or_else(|| Failure::bad_request("bad parameter: 'path' cannot be empty"))
}

/// Docker's words for a path that is not there, which clients look for.
fn missing(error: Error, name: &str, path: &str) -> Failure {
    Failure::or_missing(error, || format!("Could not find the file {path} in container {name}"))
}

fn encoded(stat: &FileStat) -> Result<String, Failure> {
    let FileStat { name, mode, size, modified, link_target } = stat;
    let document = PathStat { name, size: *size, mode: go_mode(*mode), mtime: modified, link_target };
    let text = serde_json::to_vec(&document).map_err(|error| Error::internal("write the header", error))?;
    Ok(STANDARD.encode(text))
}

fn go_mode(mode: u32) -> u32 {
    let kind = KINDS.iter().find(|(own, _)| mode & KIND == *own).map_or(0, |(_, go)| *go);
    let special = SPECIAL.iter().filter(|(own, _)| mode & own != 0).map(|(_, go)| *go);
    mode & 0o777 | kind | special.fold(0, |all, bit| all | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        for (mode, go) in [
            (0o100_644, 0o644),
            (0o040_755, 0x8000_01ed),
            (0o120_777, 0x0800_01ff),
            (0o104_755, 0x0080_01ed),
            (0o041_777, 0x8010_01ff),
            (0o020_666, 0x0420_01b6),
        ] {
            assert_eq!(go_mode(mode), go, "{mode:o}");
        }
    }
}
