//! Contexts that come in a request beside that of their build, in any order.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::docker::Failure;

/// How long a context waits for its build, and a build for its context.
const WAIT: Duration = Duration::from_secs(10);
/// The most contexts that wait for their build.
const MAX: usize = 64;

/// A context that nobody took yet, and where it is told that somebody did.
type Waiting = (Body, oneshot::Sender<()>);

/// The contexts that wait for their builds, by the builds' ids.
pub(crate) struct Uploads {
    waiting: Mutex<HashMap<String, Waiting>>,
    arrived: Notify,
    /// How long one waits for the other.
    wait: Duration,
}

impl Default for Uploads {
    fn default() -> Uploads {
        Uploads { waiting: Mutex::default(), arrived: Notify::new(), wait: WAIT }
    }
}

impl Uploads {
    /// Waits until the build `id` has taken `body` and has no more use for it.
    pub(super) async fn bring(&self, id: &str, body: Body) -> Result<(), Failure> {
        // The body goes to whoever builds; that it was read to its end, or given up, is seen here.
        let (over, is_over) = oneshot::channel::<()>();
        let body = Body::new(body.map_frame(move |frame| {
            let _held = &over;
            frame
        }));
        let (taken, is_taken) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.len() >= MAX || waiting.contains_key(id) {
                let why = "too many contexts wait for their builds, or one for this build does already";
                return Err(Failure::new(StatusCode::CONFLICT, why));
            }
            waiting.insert(id.to_owned(), (body, taken));
        }
        let _entry = Entry { uploads: self, id };
        self.arrived.notify_waiters();
        let no_build = || Failure::bad_request("no build came for this context");
        timeout(self.wait, is_taken).await.map_err(|_| no_build())?.map_err(|_| no_build())?;
        // An error is the end that is waited for.
        let _ = is_over.await;
        Ok(())
    }

    /// The context of the build `id`, which may be about to come.
    pub(super) async fn take(&self, id: &str) -> Result<Body, Failure> {
        let deadline = Instant::now() + self.wait;
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if let Some((body, taken)) = self.waiting().remove(id) {
                // Whoever brought it may be gone; then reading fails.
                let _ = taken.send(());
                return Ok(body);
            }
            if timeout_at(deadline, arrived).await.is_err() {
                return Err(Failure::bad_request("the context of the build did not come"));
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploads").field("waiting", &self.waiting().len()).finish()
    }
}

/// Takes a context away that nobody took before its client went.
struct Entry<'a> {
    uploads: &'a Uploads,
    id: &'a str,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.uploads.waiting().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_context_and_its_build_meet_whoever_comes_first() {
        let uploads = Uploads::default();
        let read = |body: Body| async { body.collect().await.unwrap().to_bytes() };
        for build_is_late in [false, true] {
            let bringing = uploads.bring("a", Body::from("tar"));
            let building = async { read(uploads.take("a").await.unwrap()).await };
            let (brought, bytes) = match build_is_late {
                true => tokio::join!(bringing, building),
                false => {
                    let (bytes, brought) = tokio::join!(building, bringing);
                    (brought, bytes)
                }
            };
            assert_eq!((brought, &bytes[..]), (Ok(()), &b"tar"[..]));
        }
        assert!(uploads.waiting().is_empty());
    }

    #[tokio::test]
    async fn nobody_waits_for_ever_and_nothing_is_left() {
        let uploads = Uploads { wait: Duration::from_millis(5), ..Uploads::default() };
        assert!(uploads.take("a").await.is_err());
        assert!(uploads.bring("a", Body::empty()).await.is_err());
        drop(timeout(Duration::from_millis(1), uploads.bring("b", Body::empty())).await);
        assert!(uploads.waiting().is_empty());
    }
}
