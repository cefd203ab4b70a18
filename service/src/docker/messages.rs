//! Progress as the Docker API tells it: JSON values, one after the other, while something is done.

mod transfers;

use std::io;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::IntoResponse;
use futures_util::stream;
use kiln_engine::CancellationToken;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::{Answer, Daemon, Failure};
pub(crate) use transfers::{Transfers, Words};

/// Messages that wait for a client that reads slowly; what makes them waits then.
const DEPTH: usize = 64;

/// One message; what is not said is not there.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Message {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<String>,
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub(crate) progress_detail: Option<ProgressDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    error_detail: Option<ErrorDetail>,
    /// The same, for clients of old.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aux: Option<Value>,
}

/// How far something has come; an empty object says that it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ProgressDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
struct ErrorDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
    message: String,
}

impl Message {
    /// Text as it is.
    pub(crate) fn stream(text: impl Into<String>) -> Message {
        Message { stream: Some(text.into()), ..Message::default() }
    }

    /// A line.
    pub(crate) fn status(text: impl Into<String>) -> Message {
        Message { status: Some(text.into()), ..Message::default() }
    }

    /// A value for programs.
    pub(crate) fn aux(value: &impl Serialize) -> Message {
        Message { aux: serde_json::to_value(value).ok(), ..Message::default() }
    }

    /// The same with what clients know it by.
    pub(crate) fn called(id: &str, value: &impl Serialize) -> Message {
        Message { id: Some(id.to_owned()), ..Message::aux(value) }
    }

    fn error(failure: &Failure) -> Message {
        let message = failure.message.clone();
        Message {
            error: Some(message.clone()),
            error_detail: Some(ErrorDetail { code: failure.code, message }),
            ..Message::default()
        }
    }

    fn line(&self) -> Bytes {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.extend_from_slice(b"\r\n");
        line.into()
    }
}

/// The way to whoever watches. Sending waits where they are behind, and fails silently where they are gone.
#[derive(Clone, Debug)]
pub(crate) struct Messages(mpsc::Sender<Bytes>);

impl Messages {
    /// Sends from a thread that may block, or from one of those that answer, which is replaced for that time.
    pub(crate) fn send(&self, message: &Message) {
        if let Err(mpsc::error::TrySendError::Full(line)) = self.0.try_send(message.line()) {
            let _ = tokio::task::block_in_place(|| self.0.blocking_send(line));
        }
    }
}

/// Does `work` and answers with what it tells. What fails before it tells anything is an ordinary failure; later it is the
/// last message. `work` is told when its client has gone away.
pub(crate) async fn answer<F>(daemon: &Daemon, work: impl FnOnce(Messages, CancellationToken) -> F) -> Answer
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let gone = daemon.stop.child_token();
    let (sender, mut receiver) = mpsc::channel(DEPTH);
    let (end, ended) = oneshot::channel();
    let work = work(Messages(sender), gone.clone());
    daemon.work.spawn(async move {
        // Nobody is left to be told where this fails.
        let _ = end.send(work.await);
    });
    let guard = gone.drop_guard();
    let first = receiver.recv().await;
    let Some(first) = first else {
        return match ended.await {
            Ok(Ok(())) => Ok(respond(Body::empty())),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(broken()),
        };
    };
    let rest = stream::unfold((Some(first), receiver, Some(ended), guard), |state| async move {
        let (first, mut receiver, ended, guard) = state;
        if let Some(first) = first {
            return Some((Ok::<_, io::Error>(first), (None, receiver, ended, guard)));
        }
        if let Some(next) = receiver.recv().await {
            return Some((Ok(next), (None, receiver, ended, guard)));
        }
        match ended?.await {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some((Ok(Message::error(&failure).line()), (None, receiver, None, guard))),
            Err(_) => Some((Ok(Message::error(&broken()).line()), (None, receiver, None, guard))),
        }
    });
    Ok(respond(Body::from_stream(rest)))
}

fn broken() -> Failure {
    kiln_engine::Error::new(kiln_engine::ErrorKind::Internal, "the work on the request broke off").into()
}

fn respond(body: Body) -> axum::response::Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_dockers_keys() {
        let json = |message: &Message| serde_json::to_string(message).unwrap();
        assert_eq!(json(&Message::stream("Step 1\n")), r#"{"stream":"Step 1\n"}"#);
        let moving = Message {
            id: Some("a".into()),
            progress_detail: Some(ProgressDetail { current: Some(1), total: Some(2) }),
            ..Message::status("Downloading")
        };
        assert_eq!(
            json(&moving),
            r#"{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"a"}"#
        );
        assert_eq!(
            json(&Message::error(&Failure::bad_request("no"))),
            r#"{"errorDetail":{"message":"no"},"error":"no"}"#
        );
        let of_step = Failure { code: Some(5), ..Failure::bad_request("no") };
        assert_eq!(
            json(&Message::error(&of_step)),
            r#"{"errorDetail":{"code":5,"message":"no"},"error":"no"}"#
        );
    }
}
