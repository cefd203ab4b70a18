//! A build as a trace: OTLP's `ExportTraceServiceRequest` in its JSON form.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Build, Outcome, Step};

/// The most spans of one trace; a step more has none.
const MAX_SPANS: usize = 10_000;
/// The longest text of an attribute, in characters.
const MAX_TEXT: usize = 1024;
/// OTLP's words: a span that others caused, and one within.
const SERVER: u8 = 2;
const INTERNAL: u8 = 1;
const OK: u8 = 1;
const ERROR: u8 = 2;

/// A span of a client's: W3C's `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    trace: String,
    span: String,
}

impl Parent {
    /// From the header; nothing where it is not one, or asks for no trace.
    pub(crate) fn parse(header: &str) -> Option<Parent> {
        let mut parts = header.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_id = |text: &str, length: usize| {
            let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            text.len() == length && text.bytes().all(hex) && text.bytes().any(|byte| byte != b'0')
        };
        let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        let is_known = version.len() == 2 && version != "ff" && is_id(trace, 32) && is_id(span, 16);
        (is_known && is_sampled).then(|| Parent { trace: trace.to_owned(), span: span.to_owned() })
    }
}

/// What is sent of a build: a span for it and one within for each of its steps. `id` makes ids of that many bytes.
pub(super) fn request(build: &Build, service: &str, mut id: impl FnMut(usize) -> String) -> Value {
    let trace = build.parent.as_ref().map_or_else(|| id(16), |parent| parent.trace.clone());
    let root = id(8);
    let mut spans = vec![whole(build, &trace, &root)];
    let begun = build.steps.iter().filter_map(|step| Some((step, step.began?)));
    spans.extend(begun.take(MAX_SPANS).map(|(step, began)| {
        let ended = step.ended.unwrap_or(build.ended);
        of_step(step, [began, ended], &trace, &root, &id(8))
    }));
    let version = env!("CARGO_PKG_VERSION");
    json!({ "resourceSpans": [{
        "resource": { "attributes": [attribute("service.name", service), attribute("service.version", version)] },
        "scopeSpans": [{ "scope": { "name": "kiln", "version": version }, "spans": spans }],
    }] })
}

fn whole(build: &Build, trace: &str, id: &str) -> Value {
    let (status, result) = match &build.outcome {
        Outcome::Completed => (json!({ "code": OK }), "completed"),
        Outcome::Cancelled => (json!({ "code": ERROR, "message": "cancelled" }), "cancelled"),
        Outcome::Failed(why) => (json!({ "code": ERROR, "message": text(why) }), "failed"),
    };
    let parent = build.parent.as_ref().map(|parent| parent.span.as_str()).unwrap_or_default();
    let cached = build.steps.iter().filter(|step| step.cached).count();
    json!({
        "traceId": trace, "spanId": id, "parentSpanId": parent, "name": "build", "kind": SERVER,
        "startTimeUnixNano": nanoseconds(build.began), "endTimeUnixNano": nanoseconds(build.ended),
        "attributes": [
            attribute("kiln.build.ref", &build.reference),
            attribute("kiln.build.frontend", &build.frontend),
            attribute("kiln.build.result", result),
            { "key": "kiln.build.steps", "value": { "intValue": build.steps.len().to_string() } },
            { "key": "kiln.build.steps.cached", "value": { "intValue": cached.to_string() } },
        ],
        "status": status,
    })
}

fn of_step(step: &Step, [began, ended]: [SystemTime; 2], trace: &str, root: &str, id: &str) -> Value {
    let status = match step.error.is_empty() {
        true => json!({ "code": OK }),
        false => json!({ "code": ERROR, "message": text(&step.error) }),
    };
    json!({
        "traceId": trace, "spanId": id, "parentSpanId": root, "name": text(&step.name), "kind": INTERNAL,
        "startTimeUnixNano": nanoseconds(began), "endTimeUnixNano": nanoseconds(ended.max(began)),
        "attributes": [
            attribute("kiln.step.digest", &step.digest),
            { "key": "kiln.step.cached", "value": { "boolValue": step.cached } },
        ],
        "status": status,
    })
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": text(value) } })
}

fn text(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// Numbers of 64 bits are strings in the JSON form.
fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_build_is_a_span_and_each_step_that_began_one_within() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let step =
            |name: &str, ended| Step { name: name.to_owned(), began: Some(at(2)), ended, ..Step::default() };
        let steps = vec![
            Step { error: "exit code 1".to_owned(), ..step("RUN x", Some(at(3))) },
            step("RUN y", None),
            Step::default(),
        ];
        let build = Build {
            reference: "ref".to_owned(),
            frontend: "dockerfile.v0".to_owned(),
            began: at(1),
            ended: at(4),
            outcome: Outcome::Failed("w".repeat(MAX_TEXT + 1)),
            steps,
            parent: Parent::parse(HEADER),
        };
        let mut next = 0;
        let told = request(&build, "svc", |bytes| {
            next += 1;
            format!("{next:0width$x}", width = 2 * bytes)
        });
        let resource = &told["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "svc");
        let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
        assert_eq!(spans.len(), 3);
        let build = &spans[0];
        assert_eq!(build["traceId"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(build["parentSpanId"], "b7ad6b7169203331");
        assert_eq!(build["spanId"], "0000000000000001");
        assert_eq!(build["startTimeUnixNano"], "1000000000");
        assert_eq!(build["status"]["message"].as_str().unwrap().len(), MAX_TEXT);
        for span in &spans[1..] {
            assert_eq!((&span["traceId"], &span["parentSpanId"]), (&build["traceId"], &build["spanId"]));
        }
        assert_eq!(spans[1]["status"], json!({ "code": ERROR, "message": "exit code 1" }));
        assert_eq!(spans[2]["endTimeUnixNano"], "4000000000", "what did not end ended with its build");
    }

    #[test]
    fn a_header_is_taken_where_it_is_one_and_wants_a_trace() {
        assert!(Parent::parse(HEADER).is_some());
        let zero = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        let bad = [
            "",
            "00",
            &HEADER.replace("-01", "-00"),
            &HEADER.replace("0af", "0AF"),
            &HEADER.replace("00-", "ff-"),
            &HEADER.replace("b7", ""),
            &zero,
        ]
        .map(str::to_owned);
        for header in bad {
            assert_eq!(Parent::parse(&header), None, "{header}");
        }
    }
}
