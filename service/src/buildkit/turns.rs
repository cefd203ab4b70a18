//! Turns: how many builds are worked on at once, and who of those that wait is next.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Builds that are worked on at once.
pub(crate) const MAX_AT_ONCE: usize = 64;

/// The turns of those who share a machine. Clients that wait are served in a circle, so that one with many builds keeps
/// nobody waiting longer than one of them takes.
pub(crate) struct Turns {
    state: Mutex<State>,
}

struct State {
    free: usize,
    /// Who waits, by client; the first is next.
    waiting: VecDeque<(String, VecDeque<oneshot::Sender<Turn>>)>,
}

/// The right to work; whoever is next has it when this is dropped.
pub(crate) struct Turn(Option<Arc<Turns>>);

impl Turns {
    /// So many at once.
    pub(crate) fn new(count: usize) -> Turns {
        Turns { state: Mutex::new(State { free: count, waiting: VecDeque::new() }) }
    }

    /// Waits for a turn of `client`. Whoever drops the future waits no more.
    pub(crate) async fn take(self: &Arc<Self>, client: &str) -> Turn {
        let turn = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Turn(Some(self.clone()));
            }
            let (sender, turn) = oneshot::channel();
            match state.waiting.iter_mut().find(|(waits, _)| waits == client) {
                Some((_, queue)) => queue.push_back(sender),
                None => state.waiting.push_back((client.to_owned(), [sender].into())),
            }
            turn
        };
        // A sender goes only by sending, as long as there are turns.
        turn.await.unwrap_or(Turn(None))
    }

    fn give_back(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            let Some(next) = state.next() else {
                state.free += 1;
                return;
            };
            drop(state);
            match next.send(Turn(Some(self.clone()))) {
                Ok(()) => return,
                // They wait no more; the turn is not given back twice.
                Err(mut turn) => turn.0 = None,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (client, mut queue) = self.waiting.pop_front()?;
        let next = queue.pop_front();
        if !queue.is_empty() {
            self.waiting.push_back((client, queue));
        }
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn settle() {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn clients_take_turns_however_much_each_wants() {
        let turns = Arc::new(Turns::new(1));
        let first = turns.take("a").await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let wants = ["a1", "a2", "a3", "b1", "c1", "b2"];
        let mut all = Vec::new();
        for name in wants {
            let (turns, order) = (turns.clone(), order.clone());
            all.push(tokio::spawn(async move {
                let _turn = turns.take(&name[..1]).await;
                order.lock().unwrap().push(name);
                tokio::task::yield_now().await;
            }));
            settle().await;
        }
        drop(first);
        for one in all {
            one.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["a1", "b1", "c1", "a2", "b2", "a3"]);
        assert_eq!(turns.state().free, 1);
    }

    #[tokio::test]
    async fn who_waits_no_more_keeps_no_turn() {
        let turns = Arc::new(Turns::new(1));
        let held = turns.take("a").await;
        for client in ["b", "b", "c"] {
            let mut waits = Box::pin(turns.take(client));
            assert!(futures_util::poll!(&mut waits).is_pending());
        }
        // One is given a turn and goes before it takes it.
        let mut given = Box::pin(turns.take("d"));
        assert!(futures_util::poll!(&mut given).is_pending());
        drop(held);
        drop(given);
        assert_eq!(turns.state().free, 1);
    }
}
