//! One computation per cache key, whoever asks for it; the computation belongs to those who wait for it.
//!
//! A flight lives as long as somebody waits. The first who asks starts it, later ones join: they get the progress that
//! they missed and share the outcome. Whoever leaves takes only himself away; when the last one has left the flight
//! is cancelled, and he stays until what it began is taken down.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{Cause, Failure};
use crate::key::CacheKey;
use crate::progress::{Event, EventKind, ProgressSink, Reporter, StepId};
use crate::session::Session;

/// Bytes of log kept for those who join late and for the message of a failure.
const KEPT_LOG: usize = 256 << 10;
/// Lines of log that a failure carries.
const TAIL_LINES: usize = 40;

/// How a flight ended.
pub type Outcome<V> = Result<V, Failure>;

/// What one build brings to a step that it waits for.
#[derive(Clone)]
pub struct Waiter {
    /// Where its events go.
    pub sink: Arc<dyn ProgressSink>,
    /// The step's number in that build.
    pub step: StepId,
    /// What the build can be asked for.
    pub session: Session,
}

/// All that run now.
pub struct Flights<V> {
    running: DashMap<CacheKey, Arc<Running<V>>>,
}

struct Running<V> {
    crowd: Arc<Crowd>,
    outcome: watch::Receiver<Option<Outcome<V>>>,
}

impl<V> Default for Flights<V> {
    fn default() -> Self {
        Flights { running: DashMap::new() }
    }
}

impl<V: Clone + Send + Sync + 'static> Flights<V> {
    /// Joins the flight of `key`, or starts it; returns its outcome, or a cancelled failure once `cancel` is.
    pub async fn join<F, Fut>(
        self: &Arc<Self>,
        key: &CacheKey,
        waiter: Waiter,
        cancel: &CancellationToken,
        start: F,
    ) -> Outcome<V>
    where
        F: FnOnce(Arc<Crowd>) -> Fut,
        Fut: Future<Output = Result<V, Cause>> + Send + 'static,
    {
        let (mut outcome, seat) = self.board(key, waiter, start);
        tokio::select! {
            biased;
            landed = landed(&mut outcome) => landed,
            () = cancel.cancelled() => {
                if seat.leave() {
                    // What the flight began must be gone before whoever cancelled it goes on.
                    drop(landed(&mut outcome).await);
                }
                Err(Failure::cancelled())
            }
        }
    }

    fn board<F, Fut>(self: &Arc<Self>, key: &CacheKey, waiter: Waiter, start: F) -> (Receiver<V>, Seat)
    where
        F: FnOnce(Arc<Crowd>) -> Fut,
        Fut: Future<Output = Result<V, Cause>> + Send + 'static,
    {
        match self.running.entry(key.clone()) {
            Entry::Occupied(mut entry) => match Crowd::admit(&entry.get().crowd, waiter) {
                Ok(seat) => (entry.get().outcome.clone(), seat),
                Err(waiter) => {
                    let (running, seat) = self.take_off(key, waiter, start);
                    let outcome = running.outcome.clone();
                    entry.insert(running);
                    (outcome, seat)
                }
            },
            Entry::Vacant(entry) => {
                let (running, seat) = self.take_off(key, waiter, start);
                let outcome = running.outcome.clone();
                entry.insert(running);
                (outcome, seat)
            }
        }
    }

    fn take_off<F, Fut>(self: &Arc<Self>, key: &CacheKey, waiter: Waiter, start: F) -> (Arc<Running<V>>, Seat)
    where
        F: FnOnce(Arc<Crowd>) -> Fut,
        Fut: Future<Output = Result<V, Cause>> + Send + 'static,
    {
        let (crowd, seat) = Crowd::of(waiter);
        let (sender, outcome) = watch::channel(None);
        let work = AssertUnwindSafe(start(crowd.clone())).catch_unwind();
        let (flights, key, crew) = (self.clone(), key.clone(), crowd.clone());
        tokio::spawn(async move {
            let result = work.await.unwrap_or_else(|panic| Err(Cause::panicked(panic.as_ref())));
            flights.running.remove_if(&key, |_, running| Arc::ptr_eq(&running.crowd, &crew));
            let result = result.map_err(|cause| crew.failure(cause));
            drop(sender.send(Some(result)));
        });
        (Arc::new(Running { crowd, outcome }), seat)
    }
}

type Receiver<V> = watch::Receiver<Option<Outcome<V>>>;

async fn landed<V: Clone>(outcome: &mut Receiver<V>) -> Outcome<V> {
    match outcome.wait_for(Option::is_some).await {
        Ok(result) => result.clone().unwrap_or_else(|| Err(Failure::cancelled())),
        Err(_) => Err(Failure::cancelled()),
    }
}

/// Those who wait for one flight; what the flight reports to and asks for sessions.
pub struct Crowd {
    inner: Mutex<Inner>,
    cancel: CancellationToken,
}

struct Inner {
    next: u64,
    waiters: Vec<(u64, Waiter)>,
    past: VecDeque<(SystemTime, EventKind)>,
    kept: usize,
}

impl Crowd {
    fn of(waiter: Waiter) -> (Arc<Crowd>, Seat) {
        let inner = Inner { next: 1, waiters: vec![(0, waiter)], past: VecDeque::new(), kept: 0 };
        let crowd = Arc::new(Crowd { inner: Mutex::new(inner), cancel: CancellationToken::new() });
        let seat = Seat { crowd: crowd.clone(), number: 0 };
        (crowd, seat)
    }

    /// Takes `waiter` in and tells it what it missed; gives it back where everybody has already left.
    fn admit(crowd: &Arc<Crowd>, waiter: Waiter) -> Result<Seat, Waiter> {
        let mut inner = crowd.lock();
        if inner.waiters.is_empty() {
            return Err(waiter);
        }
        for (at, kind) in &inner.past {
            waiter.sink.event(Event { at: *at, step: waiter.step, kind: kind.clone() });
        }
        let number = inner.next;
        inner.next += 1;
        inner.waiters.push((number, waiter));
        drop(inner);
        Ok(Seat { crowd: crowd.clone(), number })
    }

    /// A session of somebody who still waits; ask each time one is needed.
    pub fn session(&self) -> Option<Session> {
        self.lock().waiters.first().map(|(_, waiter)| waiter.session.clone())
    }

    /// Is cancelled when nobody waits any more.
    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// The error of a step that notices that nobody waits any more.
    pub fn check(&self) -> Result<(), Cause> {
        if self.cancel.is_cancelled() { Err(Cause::Cancelled) } else { Ok(()) }
    }

    fn failure(&self, cause: Cause) -> Failure {
        Failure { cause: Arc::new(cause), log: self.lock().tail().into() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remember(&mut self, at: SystemTime, kind: &EventKind) {
        let size = |kind: &EventKind| match kind {
            EventKind::Log { bytes, .. } => bytes.len() + size_of::<EventKind>(),
            _ => size_of::<EventKind>(),
        };
        self.kept += size(kind);
        self.past.push_back((at, kind.clone()));
        while self.kept > KEPT_LOG {
            // The first event is `Started`; the oldest log goes before it does.
            let Some((_, old)) = self.past.remove(1.min(self.past.len() - 1)) else { return };
            self.kept -= size(&old);
        }
    }

    fn tail(&self) -> Vec<String> {
        let logs = self.past.iter().filter_map(|(_, kind)| match kind {
            EventKind::Log { bytes, .. } => Some(String::from_utf8_lossy(bytes)),
            _ => None,
        });
        let text: String = logs.collect();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| (*line).to_owned()).collect()
    }
}

impl Reporter for Crowd {
    fn report(&self, kind: EventKind) {
        let at = SystemTime::now();
        let mut inner = self.lock();
        inner.remember(at, &kind);
        for (_, waiter) in &inner.waiters {
            waiter.sink.event(Event { at, step: waiter.step, kind: kind.clone() });
        }
    }
}

/// A place in a crowd; dropping it is leaving.
struct Seat {
    crowd: Arc<Crowd>,
    number: u64,
}

impl Seat {
    /// Leaves; whether nobody is left.
    fn leave(self) -> bool {
        self.vacate()
    }

    fn vacate(&self) -> bool {
        let mut inner = self.crowd.lock();
        inner.waiters.retain(|(number, _)| *number != self.number);
        let last = inner.waiters.is_empty();
        if last {
            self.crowd.cancel.cancel();
        }
        last
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.vacate();
    }
}

impl<V> fmt::Debug for Flights<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("running", &self.running.len()).finish()
    }
}

impl fmt::Debug for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crowd").field("waiters", &self.lock().waiters.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("step", &self.step).finish_non_exhaustive()
    }
}
