//! Layers on their way from and to a registry, as messages.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kiln_engine::progress::{EventKind, Reporter, Transfer};

use super::{Message, Messages, ProgressDetail};

/// The time between two messages about one layer.
const EVERY: Duration = Duration::from_millis(100);
/// Characters of a digest that name a layer.
const SHORT: usize = 12;

/// What is said of a layer at its beginning, while something is done with it and when that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// At first sight.
    pub(crate) first: &'static str,
    /// For each action what is said meanwhile, and at its end.
    pub(crate) actions: &'static [(&'static str, &'static str, &'static str)],
}

impl Words {
    /// Of a pull.
    pub(crate) const PULL: Words = Words {
        first: "Pulling fs layer",
        actions: &[
            ("downloading", "Downloading", "Download complete"),
            ("extracting", "Extracting", "Pull complete"),
        ],
    };
    /// Of a push.
    pub(crate) const PUSH: Words = Words { first: "Preparing", actions: &[("pushing", "Pushing", "Pushed")] };
}

/// Tells of transfers.
#[derive(Debug)]
pub(crate) struct Transfers {
    messages: Messages,
    words: Words,
    /// When each layer was last told of.
    told: Mutex<HashMap<String, Instant>>,
}

impl Transfers {
    pub(crate) fn new(messages: Messages, words: Words) -> Transfers {
        Transfers { messages, words, told: Mutex::default() }
    }

    /// What is said of a transfer now.
    fn say(&self, transfer: &Transfer, now: Instant) -> Vec<Message> {
        let id = transfer.item.strip_prefix("sha256:").unwrap_or(&transfer.item);
        let id = id.get(..SHORT).unwrap_or(id).to_owned();
        let message = |status: &str, detail| Message {
            id: Some(id.clone()),
            progress_detail: Some(detail),
            ..Message::status(status)
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.get(&transfer.item).copied();
        let mut said = Vec::new();
        if before.is_none() {
            said.push(message(self.words.first, ProgressDetail::default()));
        }
        let is_due = before.is_none_or(|before| now.duration_since(before) >= EVERY);
        if !transfer.done && !is_due {
            return said;
        }
        told.insert(transfer.item.clone(), now);
        let known = self.words.actions.iter().find(|(action, ..)| *action == transfer.action);
        let (meanwhile, end) =
            known.map_or((transfer.action, "Done"), |(_, meanwhile, end)| (meanwhile, end));
        said.push(match transfer.done {
            true => message(end, ProgressDetail::default()),
            false => {
                message(meanwhile, ProgressDetail { current: Some(transfer.current), total: transfer.total })
            }
        });
        said
    }
}

impl Reporter for Transfers {
    fn report(&self, kind: EventKind) {
        if let EventKind::Transfer(transfer) = &kind {
            self.say(transfer, Instant::now()).iter().for_each(|message| self.messages.send(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_told_of_now_and_then_and_at_its_end() {
        let (sender, _receiver) = tokio::sync::mpsc::channel(1);
        let transfers = Transfers::new(Messages(sender), Words::PULL);
        let start = Instant::now();
        let say = |action, current, done, after: u64| {
            let item = format!("sha256:{}", "a".repeat(64));
            let transfer = Transfer { item, action, current, total: Some(9), done };
            let said = transfers.say(&transfer, start + Duration::from_millis(after));
            said.into_iter().map(|message| message.status.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(say("downloading", 1, false, 0), ["Pulling fs layer", "Downloading"]);
        assert!(say("downloading", 2, false, 50).is_empty());
        assert_eq!(say("downloading", 3, false, 150), ["Downloading"]);
        assert_eq!(say("downloading", 9, true, 160), ["Download complete"]);
        assert_eq!(say("extracting", 9, true, 170), ["Pull complete"]);
    }
}
