//! `GET /containers/{id}/logs`

use std::io::{self, Write as _};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse as _;
use kiln_engine::CancellationToken;
use kiln_engine::attach::Stream;
use kiln_engine::containers::Container;
use kiln_engine::logs::{LogEntry, LogIter, LogOptions};
use tokio::sync::mpsc;

use super::find;
use crate::docker::params::Params;
use crate::docker::stream::{self, BodyWriter};
use crate::docker::version::ApiVersion;
use crate::docker::{Answer, Daemon, Failure, hijack, task, time};

/// How entries are written.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// Which streams: standard output, standard error.
    wanted: [bool; 2],
    timestamps: bool,
    framed: bool,
    /// Whether each entry is sent at once.
    at_once: bool,
}

/// `GET /containers/{id}/logs`
pub(super) async fn logs(
    State(daemon): State<Daemon>,
    Path(name): Path<String>,
    Extension(version): Extension<ApiVersion>,
    params: Params,
) -> Answer {
    let wanted = [params.is_on("stdout"), params.is_on("stderr")];
    if wanted == [false, false] {
        return Err(Failure::bad_request("Bad parameters: you must choose at least one stream"));
    }
    let options = options(&params)?;
    let container = find(&daemon, &name).await?;
    let form = Form {
        wanted,
        timestamps: params.is_on("timestamps"),
        framed: !container.options.tty,
        at_once: options.follow,
    };
    let stop = daemon.stop.child_token();
    let (engine, id, watched) = (daemon.engine.clone(), container.id.clone(), stop.clone());
    let entries = task::blocking(move || engine.containers().logs_until(&id, &options, watched)).await?;
    let (sender, receiver) = mpsc::channel(DEPTH);
    task::thread("logs", move || write(entries, form, sender))?;
    let headers = [(header::CONTENT_TYPE, hijack::content_type(form.framed, version))];
    Ok((headers, stream::guarded(receiver, stop.drop_guard())).into_response())
}

/// Pieces that wait.
const DEPTH: usize = 16;

/// Sends what was logged before, to somebody who attaches.
pub(super) async fn replay(
    daemon: &Daemon,
    container: &Container,
    sender: mpsc::Sender<io::Result<Bytes>>,
    wanted: [bool; 2],
) -> Result<(), Failure> {
    let form = Form { wanted, timestamps: false, framed: !container.options.tty, at_once: false };
    let (engine, id) = (daemon.engine.clone(), container.id.clone());
    let all = LogOptions::default();
    let entries =
        task::blocking(move || engine.containers().logs_until(&id, &all, CancellationToken::new())).await?;
    Ok(task::thread("logs", move || write(entries, form, sender))?)
}

fn write(entries: LogIter, form: Form, sender: mpsc::Sender<io::Result<Bytes>>) {
    let mut writer = BodyWriter::new(sender);
    for entry in entries {
        let Ok(entry) = entry else { break };
        let [out, err] = form.wanted;
        if !matches!((entry.stream, out, err), (Stream::Stdout, true, _) | (Stream::Stderr, _, true)) {
            continue;
        }
        let written = writer.write_all(&bytes(&entry, form));
        let sent = if form.at_once { written.and_then(|()| writer.flush()) } else { written };
        if sent.is_err() {
            return;
        }
    }
    let _ = writer.flush();
}

fn bytes(entry: &LogEntry, form: Form) -> Vec<u8> {
    let time = if form.timestamps { format!("{} ", entry.time) } else { String::new() };
    let bytes = [time.as_bytes(), &entry.bytes].concat();
    if form.framed { stream::frame(entry.stream, &bytes) } else { bytes }
}

fn options(params: &Params) -> Result<LogOptions, Failure> {
    let moment = |name| Ok::<_, Failure>(time::moment(params.text(name))?.map(|moment| moment.to_string()));
    let tail = match params.text("tail") {
        None | Some("all" | "-1") => None,
        // Docker takes what is no number for all.
        Some(text) => text.parse().ok(),
    };
    Ok(LogOptions { follow: params.is_on("follow"), tail, since: moment("since")?, until: moment("until")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::params::params;

    #[test]
    fn an_entry_is_framed_with_its_time() {
        let entry = LogEntry { time: "T".into(), stream: Stream::Stderr, bytes: b"x\n".to_vec() };
        let form = Form { wanted: [true, true], timestamps: true, framed: true, at_once: false };
        assert_eq!(bytes(&entry, form), b"\x02\0\0\0\0\0\0\x04T x\n");
        assert_eq!(bytes(&entry, Form { framed: false, timestamps: false, ..form }), b"x\n");
    }

    #[test]
    fn a_part_is_chosen_as_docker_chooses() {
        let read = |query: &str| options(&params(query)).unwrap();
        assert_eq!(read("tail=all&since=0"), LogOptions::default());
        assert_eq!(read("tail=5&follow=1").tail, Some(5));
        assert_eq!(read("since=1136073600.5").since.as_deref(), Some("2006-01-01T00:00:00.5Z"));
        assert!(options(&params("until=never")).is_err());
    }
}
