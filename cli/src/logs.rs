//! What kiln says on standard error of what it does: lines for people, or an object a line for programs.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;

/// By which variable everybody can ask for a log.
const VARIABLE: &str = "KILN_LOG";

/// How a log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Begins to say what happens, as far as the environment or `level` asks for it.
pub(crate) fn start(level: Option<&str>, format: Format) {
    let variable = std::env::var(VARIABLE).ok();
    let Some(filter) = variable.as_deref().or(level) else { return };
    // What cannot be read is as good as nothing said.
    let targets: Targets = filter.parse().unwrap_or_default();
    let registry = tracing_subscriber::registry();
    match format {
        Format::Text => {
            registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr)).with(targets).init();
        }
        Format::Json => registry.with(JsonLines).with(targets).init(),
    }
}

/// Writes each event as an object with `time`, `level`, `target`, `message` and its fields.
struct JsonLines;

impl<S: Subscriber> tracing_subscriber::Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = object(event).to_string();
        line.push('\n');
        // Nothing is left to do where standard error is closed.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

fn object(event: &Event<'_>) -> Value {
    let metadata = event.metadata();
    let mut fields = Fields(Map::new());
    let head = [
        ("time", Timestamp::now().to_string()),
        ("level", metadata.level().as_str().to_ascii_lowercase()),
        ("target", metadata.target().to_owned()),
    ];
    fields.0.extend(head.map(|(key, text)| (key.to_owned(), Value::from(text))));
    // First, so that it is where people look.
    fields.0.insert("message".to_owned(), Value::from(""));
    event.record(&mut fields);
    if fields.0["message"] == "" {
        fields.0.shift_remove("message");
    }
    Value::Object(fields.0)
}

/// The fields of an event, numbers as numbers.
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // A value that cannot be written is written as far as it can.
        let _ = write!(text, "{value:?}");
        self.0.insert(field.name().to_owned(), text.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn an_event_is_one_object_with_its_fields() {
        struct Keep(Arc<Mutex<Vec<Value>>>);
        impl<S: Subscriber> tracing_subscriber::Layer<S> for Keep {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                self.0.lock().unwrap().push(object(event));
            }
        }
        let kept = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Keep(kept.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(status = 200_u16, path = "/a\n\"b", ok = true, shown = ?Some(1), "said {}", 1);
        });
        let mut said = kept.lock().unwrap().pop().unwrap();
        said["time"].as_str().unwrap().parse::<Timestamp>().unwrap();
        said["time"] = "now".into();
        let target = module_path!();
        assert_eq!(
            said.to_string(),
            format!(
                r#"{{"time":"now","level":"warn","target":"{target}","message":"said 1","status":200,"path":"/a\n\"b","ok":true,"shown":"Some(1)"}}"#
            )
        );
    }
}
