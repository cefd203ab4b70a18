//! What can go wrong.

use std::time::Duration;

use super::answer::{Answer, answer, failure};

/// One way to fail a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status.
    Status(u16),
    /// Answers with this status and `Retry-After` in seconds.
    RetryAfter(u16, u64),
    /// Breaks the connection after so many bytes of the body.
    Reset(usize),
    /// Sends other bytes of the same length.
    WrongBytes,
    /// Sends only so many bytes, and says so.
    Short(usize),
    /// Sends so many bytes too many, and says so.
    Long(usize),
    /// Sends so many bytes at a time with a pause between.
    Slow(usize, Duration),
    /// Never answers.
    Silence,
    /// Answers rightly, but late.
    Delay(Duration),
    /// Redirects there.
    Redirect(u16, String),
    /// Adds a header to the right answer.
    Header(String, String),
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) fault: Fault,
    pub(super) times: usize,
}

/// Takes the fault that the request is to have, if any.
pub(super) fn take(rules: &mut [Rule], method: &str, path: &str) -> Option<Fault> {
    let rule = rules.iter_mut().find(|r| r.times > 0 && r.method == method && path.contains(&r.path))?;
    rule.times -= 1;
    Some(rule.fault.clone())
}

/// The answer instead of the right one, where the fault needs no right one.
pub(super) async fn instead(fault: &Fault) -> Option<Answer> {
    Some(match fault {
        Fault::Status(status) => failure(*status, "TEST"),
        Fault::RetryAfter(status, seconds) => answer(*status, &[("retry-after", &seconds.to_string())], ""),
        Fault::Redirect(status, location) => answer(*status, &[("location", location)], ""),
        Fault::Silence => std::future::pending().await,
        Fault::Delay(delay) => {
            tokio::time::sleep(*delay).await;
            return None;
        }
        _ => return None,
    })
}

/// The right answer, spoiled.
pub(super) fn spoil(fault: Fault, right: Answer) -> Answer {
    let (mut parts, body) = right.into_parts();
    let body = match fault {
        Fault::Reset(after) => body.cut(after),
        Fault::WrongBytes => body.altered(),
        Fault::Short(len) => body.shortened(len),
        Fault::Long(extra) => body.lengthened(extra),
        Fault::Slow(piece, pause) => body.slow(piece, pause),
        Fault::Header(name, value) => {
            let name = hyper::header::HeaderName::try_from(name).expect("a header name");
            parts.headers.insert(name, value.parse().expect("a header value"));
            body
        }
        _ => body,
    };
    Answer::from_parts(parts, body)
}
