//! One JSON document a change, in the form of BuildKit's `SolveStatus`.

use std::io::Write;
use std::time::SystemTime;

use jiff::Timestamp;
use kiln_engine::progress::{Event, EventKind, LogStream};
use serde_json::{Value, json};

use super::Renderer;
use super::moved::Moved;
use super::steps::{Phase, Step, Steps};
use crate::render::warnings::vertex_warning;
use kiln_service::calls::source::base64;

/// Raw JSON progress.
pub(super) struct RawJson<W> {
    out: W,
    steps: Steps,
}

impl<W: Write> RawJson<W> {
    pub(super) fn new(out: W) -> Self {
        RawJson { out, steps: Steps::default() }
    }

    fn document(&self, event: &Event) -> Option<Value> {
        let step = self.steps.get(event.step)?;
        Some(match &event.kind {
            EventKind::Log { stream, bytes } => json!({ "logs": [{
                "vertex": step.digest,
                "stream": if *stream == LogStream::Stdout { 1 } else { 2 },
                "data": base64(bytes),
                "timestamp": time(event.at),
            }]}),
            EventKind::Transfer(transfer) => {
                json!({ "statuses": [status(step, step.transfers.get(&transfer.item)?)] })
            }
            EventKind::Warning(warning) => {
                json!({ "warnings": [vertex_warning(Some(&step.digest), warning)] })
            }
            _ => json!({ "vertexes": [self.vertex(step)] }),
        })
    }

    fn vertex(&self, step: &Step) -> Value {
        let inputs: Vec<_> =
            step.inputs.iter().filter_map(|id| self.steps.get(*id)).map(|step| &step.digest).collect();
        let mut vertex = json!({ "digest": step.digest, "name": step.name });
        if !inputs.is_empty() {
            vertex["inputs"] = json!(inputs);
        }
        if let Some(started) = step.started {
            vertex["started"] = json!(time(started));
        }
        if let Some(ended) = step.ended {
            vertex["completed"] = json!(time(ended));
        }
        match &step.phase {
            Phase::Cached => vertex["cached"] = json!(true),
            Phase::Failed(why) => vertex["error"] = json!(why),
            Phase::Cancelled => vertex["error"] = json!("context canceled"),
            Phase::Waiting | Phase::Running | Phase::Done => {}
        }
        vertex
    }
}

fn status(step: &Step, moved: &Moved) -> Value {
    let transfer = &moved.transfer;
    let mut status = json!({ "id": format!("{} {}", transfer.action, transfer.item), "vertex": step.digest });
    if let Some(total) = transfer.total.filter(|total| *total > 0) {
        status["total"] = json!(total);
    }
    status["current"] = json!(transfer.current);
    status["timestamp"] = json!(time(moved.seen));
    status["started"] = json!(time(moved.started));
    if transfer.done {
        status["completed"] = json!(time(moved.seen));
    }
    status
}

fn time(at: SystemTime) -> String {
    Timestamp::try_from(at).unwrap_or_default().to_string()
}

impl<W: Write + Send> Renderer for RawJson<W> {
    fn event(&mut self, event: Event) {
        self.steps.apply(&event);
        if let Some(document) = self.document(&event) {
            let _ = self.out.write_all(format!("{document}\n").as_bytes());
        }
    }

    fn finish(&mut self) -> bool {
        let _ = self.out.flush();
        false
    }
}

#[cfg(test)]
mod tests {
    use kiln_engine::progress::{StepId, Transfer};

    use super::*;

    #[test]
    fn vertexes_logs_and_ends() {
        let mut out = Vec::new();
        let mut raw = RawJson::new(&mut out);
        let event = |kind| Event { at: SystemTime::UNIX_EPOCH, step: StepId(1), kind };
        raw.event(event(EventKind::Registered {
            name: "RUN x".into(),
            digest: None,
            inputs: vec![],
            stage: None,
        }));
        raw.event(event(EventKind::Started));
        raw.event(event(EventKind::Log { stream: LogStream::Stderr, bytes: b"hi\n".to_vec() }));
        let (item, action) = ("sha256:abc".to_owned(), "downloading");
        raw.event(event(EventKind::Transfer(Transfer {
            item,
            action,
            current: 5,
            total: Some(5),
            done: true,
        })));
        raw.event(event(EventKind::Failed("exit code: 1".into())));
        let documents: Vec<Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(documents[0]["vertexes"][0]["name"], "RUN x");
        assert_eq!(documents[1]["vertexes"][0]["started"], "1970-01-01T00:00:00Z");
        assert_eq!(documents[2]["logs"][0]["data"], "aGkK");
        assert_eq!(documents[2]["logs"][0]["stream"], 2);
        let digest = &documents[2]["logs"][0]["vertex"];
        let now = "1970-01-01T00:00:00Z";
        let status = json!({
            "id": "downloading sha256:abc", "vertex": digest, "total": 5, "current": 5,
            "timestamp": now, "started": now, "completed": now,
        });
        assert_eq!(documents[3], json!({ "statuses": [status] }));
        assert_eq!(documents[4]["vertexes"][0]["error"], "exit code: 1");
        assert_eq!(documents[4]["vertexes"][0]["digest"], *digest);
    }
}
