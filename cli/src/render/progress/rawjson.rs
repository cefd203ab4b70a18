//! One JSON document a change, in the form of BuildKit's `SolveStatus`.

use std::io::Write;
use std::time::SystemTime;

use jiff::Timestamp;
use kiln_engine::progress::{Event, EventKind, LogStream, StepId, Transfer};
use serde_json::{Value, json};

use super::Renderer;
use super::steps::{Phase, Step, Steps};
use crate::render::source::base64;
use crate::render::warnings::vertex_warning;

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
            EventKind::Transfer(transfer) => json!({ "statuses": [status(step, transfer, event.at)] }),
            EventKind::Warning(warning) => {
                json!({ "warnings": [vertex_warning(Some(&step.digest), warning)] })
            }
            _ => json!({ "vertexes": [self.vertex(event.step, step)] }),
        })
    }

    fn vertex(&self, _id: StepId, step: &Step) -> Value {
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

fn status(step: &Step, transfer: &Transfer, at: SystemTime) -> Value {
    let mut status = json!({
        "id": format!("{} {}", transfer.action, transfer.item),
        "vertex": step.digest,
        "current": transfer.current,
        "timestamp": time(at),
    });
    if let Some(total) = transfer.total {
        status["total"] = json!(total);
    }
    if transfer.done {
        status["completed"] = json!(time(at));
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
            let _ = writeln!(self.out, "{document}");
        }
    }

    fn finish(&mut self) {
        let _ = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
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
        raw.event(event(EventKind::Failed("exit code: 1".into())));
        let documents: Vec<Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(documents[0]["vertexes"][0]["name"], "RUN x");
        assert_eq!(documents[1]["vertexes"][0]["started"], "1970-01-01T00:00:00Z");
        assert_eq!(documents[2]["logs"][0]["data"], "aGkK");
        assert_eq!(documents[2]["logs"][0]["stream"], 2);
        assert_eq!(documents[3]["vertexes"][0]["error"], "exit code: 1");
        assert_eq!(documents[3]["vertexes"][0]["digest"], documents[2]["logs"][0]["vertex"]);
    }
}
