//! `GET /events`: what has been done through this daemon, to whoever listens.
//!
//! What other kiln processes do to the same state root is not told.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use futures_util::stream;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::broadcast;

use super::filters::Filters;
use super::params::Params;
use super::{Answer, Daemon, time};

/// Events that are remembered for `since`.
const REMEMBERED: usize = 256;
/// Events that a listener may be behind; one that is further behind misses some.
const BEHIND: usize = 1024;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Event {
    /// What happened and to whom, once more for clients of old; only containers and images have them.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(rename = "Type")]
    kind: Kind,
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    scope: &'static str,
    time: i64,
    #[serde(rename = "timeNano")]
    time_nano: i64,
}

/// To what something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Container,
    Image,
    Volume,
    Builder,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Container => "container",
            Kind::Image => "image",
            Kind::Volume => "volume",
            Kind::Builder => "builder",
        }
    }
}

/// Whom it happened to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes")]
    attributes: BTreeMap<String, String>,
}

/// All that happens.
#[derive(Debug)]
pub(crate) struct Events {
    past: Mutex<VecDeque<Event>>,
    sender: broadcast::Sender<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Events { past: Mutex::default(), sender: broadcast::channel(BEHIND).0 }
    }
}

impl Events {
    /// Tells that `action` happened to the `kind` called `id`.
    pub(crate) fn tell(
        &self,
        kind: Kind,
        action: &str,
        id: &str,
        attributes: impl IntoIterator<Item = (String, String)>,
    ) {
        let attributes: BTreeMap<String, String> = attributes.into_iter().collect();
        let now = Timestamp::now();
        let is_old = matches!(kind, Kind::Container | Kind::Image);
        let event = Event {
            status: is_old.then(|| action.to_owned()),
            id: is_old.then(|| id.to_owned()),
            from: attributes.get("image").cloned(),
            kind,
            action: action.to_owned(),
            actor: Actor { id: id.to_owned(), attributes },
            scope: "local",
            time: now.as_second(),
            time_nano: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
        };
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.len() == REMEMBERED {
            past.pop_front();
        }
        past.push_back(event.clone());
        // Nobody listens most of the time.
        let _ = self.sender.send(event);
    }

    /// What comes from now on, and what of the past is remembered; nothing is in both or in neither.
    fn listen(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        (past.iter().cloned().collect(), self.sender.subscribe())
    }
}

impl Event {
    fn at(&self) -> i128 {
        i128::from(self.time_nano)
    }

    fn passes(&self, filters: &Filters) -> bool {
        let attribute = |name: &str| self.actor.attributes.get(name).map(String::as_str).unwrap_or_default();
        let is_of = |kind: Kind, wanted: &str| {
            let names = ["name", "image"].map(attribute);
            self.kind == kind && (self.actor.id.starts_with(wanted) || names.contains(&wanted))
        };
        let labels = self.actor.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        filters.any("type", |wanted| wanted == self.kind.as_str())
            // `exec_start: sh -c …` is meant by `exec_start`.
            && filters.any("event", |wanted| self.action.split(':').next() == Some(wanted))
            && filters.any("container", |wanted| is_of(Kind::Container, wanted))
            && filters.any("image", |wanted| is_of(Kind::Image, wanted) || attribute("image") == wanted)
            && filters.any("volume", |wanted| is_of(Kind::Volume, wanted))
            && filters.any("scope", |wanted| wanted == self.scope)
            && filters.labels(labels)
    }
}

const FILTERS: [&str; 12] = [
    "type",
    "event",
    "container",
    "image",
    "volume",
    "scope",
    "label",
    "label!",
    "network",
    "daemon",
    "builder",
    "node",
];

/// `GET /events`
pub(crate) async fn events(State(daemon): State<Daemon>, params: Params) -> Answer {
    let filters = params.filters(&FILTERS)?;
    let since = time::moment(params.text("since"))?.map(Timestamp::as_nanosecond);
    let until = time::moment(params.text("until"))?.map(Timestamp::as_nanosecond);
    let (past, receiver) = daemon.events.listen();
    let past: VecDeque<Event> = past
        .into_iter()
        .filter(|event| since.is_some_and(|since| event.at() >= since))
        .filter(|event| until.is_none_or(|until| event.at() <= until))
        .collect();
    let listener = Listener { past, receiver, filters, until, stop: daemon.stop.clone() };
    let lines = stream::unfold(listener, |mut listener| async {
        listener.next().await.map(|line| (Ok::<_, io::Error>(line), listener))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response())
}

/// One client that listens.
struct Listener {
    past: VecDeque<Event>,
    receiver: broadcast::Receiver<Event>,
    filters: Filters,
    until: Option<i128>,
    stop: kiln_engine::CancellationToken,
}

impl Listener {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let event = match self.past.pop_front() {
                Some(event) => event,
                None => self.hear().await?,
            };
            if event.passes(&self.filters) {
                let mut line = serde_json::to_vec(&event).ok()?;
                line.push(b'\n');
                return Some(line.into());
            }
        }
    }

    /// The next event, unless the time is over.
    async fn hear(&mut self) -> Option<Event> {
        let left = self.until.map(|until| {
            let nanoseconds = until.saturating_sub(Timestamp::now().as_nanosecond()).max(0);
            std::time::Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
        });
        let over = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = receive(&mut self.receiver) => event,
            () = over => None,
            () = self.stop.cancelled() => None,
        }
    }
}

async fn receive(receiver: &mut broadcast::Receiver<Event>) -> Option<Event> {
    loop {
        match receiver.recv().await {
            Ok(event) => return Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn the_past_is_remembered_for_a_while() {
        let events = Events::default();
        (0..REMEMBERED + 3).for_each(|number| events.tell(Kind::Volume, "create", &number.to_string(), []));
        let (past, mut receiver) = events.listen();
        assert_eq!((past.len(), past[0].actor.id.as_str()), (REMEMBERED, "3"));
        events.tell(Kind::Volume, "destroy", "x", []);
        assert_eq!(receiver.try_recv().unwrap().action, "destroy");
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn filters_choose_by_kind_action_name_and_label() {
        let events = Events::default();
        let attributes = [pair("name", "web"), pair("image", "nginx"), pair("tier", "front")];
        events.tell(Kind::Container, "exec_start: sh", "0123", attributes);
        let event = events.listen().0.remove(0);
        let passes = |text: &str| event.passes(&Filters::parse(Some(text), &FILTERS).unwrap());
        for yes in [
            r#"{}"#,
            r#"{"container":["web"]}"#,
            r#"{"container":["012"]}"#,
            r#"{"event":["exec_start"]}"#,
            r#"{"image":["nginx"],"label":["tier=front"],"type":["container"]}"#,
        ] {
            assert!(passes(yes), "{yes}");
        }
        for no in [
            r#"{"type":["image"]}"#,
            r#"{"event":["die"]}"#,
            r#"{"container":["db"]}"#,
            r#"{"label":["tier=back"]}"#,
        ] {
            assert!(!passes(no), "{no}");
        }
        let value = serde_json::to_value(&event).unwrap();
        assert_eq!(
            (&value["Type"], &value["from"], &value["Actor"]["ID"]),
            (&"container".into(), &"nginx".into(), &"0123".into())
        );
    }
}
