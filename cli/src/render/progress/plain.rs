//! Every line as it comes, numbered by step, as BuildKit prints them.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, SystemTime};

use kiln_engine::progress::{Event, EventKind, StepId, Transfer};

use super::Renderer;
use super::steps::{Lines, Phase, Steps};
use crate::text;
use crate::values::time;

/// Plain progress.
pub(super) struct Plain<W> {
    out: W,
    steps: Steps,
    numbers: BTreeMap<StepId, usize>,
    lines: BTreeMap<StepId, Lines>,
    /// The step whose lines were printed last.
    current: Option<StepId>,
}

impl<W: Write> Plain<W> {
    pub(super) fn new(out: W) -> Self {
        Plain {
            out,
            steps: Steps::default(),
            numbers: BTreeMap::new(),
            lines: BTreeMap::new(),
            current: None,
        }
    }

    /// Prints lines of a step, after its name where the lines before were another's.
    fn print(&mut self, id: StepId, lines: &[String]) {
        let next = self.numbers.len() + 1;
        let known = self.numbers.contains_key(&id);
        let number = *self.numbers.entry(id).or_insert(next);
        let mut text = String::new();
        if self.current != Some(id) {
            if self.current.is_some() {
                text.push('\n');
            }
            let name = self.steps.get(id).map_or("", |step| &step.name);
            let name = text::neutral(name).replace('\n', " ");
            // Docker's tools do not repeat the name where a step ends without another line.
            if !known || !lines.is_empty() {
                text.push_str(&format!("#{number} {name}\n"));
            }
            self.current = Some(id);
        }
        for line in lines {
            text.push_str(&format!("#{number} {line}\n"));
        }
        let _ = self.out.write_all(text.as_bytes());
    }

    fn log(&mut self, id: StepId, bytes: &[u8], at: SystemTime) {
        let Some(step) = self.steps.get(id) else { return };
        let elapsed = step.elapsed(at);
        let lines = self.lines.entry(id).or_default().push(bytes);
        let lines: Vec<String> = lines.iter().map(|line| log_line(elapsed, line)).collect();
        if !lines.is_empty() {
            self.print(id, &lines);
        }
    }

    fn end(&mut self, id: StepId) {
        let Some(step) = self.steps.get(id) else { return };
        let elapsed = step.elapsed(SystemTime::now());
        let last = match &step.phase {
            Phase::Cached => "CACHED".to_owned(),
            Phase::Done => format!("DONE {:.1}s", elapsed.as_secs_f64()),
            Phase::Failed(why) => format!("ERROR: {}", text::neutral(why).replace('\n', " ")),
            Phase::Cancelled => "CANCELED".to_owned(),
            Phase::Waiting | Phase::Running => return,
        };
        let rest = self.lines.remove(&id).and_then(|mut lines| lines.take());
        let mut lines: Vec<String> = rest.iter().map(|line| log_line(elapsed, line)).collect();
        lines.push(last);
        self.print(id, &lines);
    }
}

fn log_line(elapsed: Duration, line: &str) -> String {
    format!("{:.3} {line}", elapsed.as_secs_f64())
}

/// `sha256:3f5e… 12.3MB / 65MB` and `done`.
fn transfer_line(transfer: &Transfer) -> String {
    let total = transfer.total.map_or_else(String::new, |total| format!(" / {}", time::size(total)));
    let done = if transfer.done { " done" } else { "" };
    format!(
        "{} {} {}{total}{done}",
        transfer.action,
        text::neutral(&transfer.item),
        time::size(transfer.current)
    )
}

impl<W: Write + Send> Renderer for Plain<W> {
    fn event(&mut self, event: Event) {
        self.steps.apply(&event);
        let id = event.step;
        match event.kind {
            EventKind::Started => self.print(id, &[]),
            EventKind::Log { bytes, .. } => self.log(id, &bytes, event.at),
            EventKind::Transfer(transfer) if transfer.done => self.print(id, &[transfer_line(&transfer)]),
            EventKind::Warning(warning) => {
                self.print(id, &[format!("WARN: {}", text::neutral(&warning.short).replace('\n', " "))]);
            }
            EventKind::Cached | EventKind::Done | EventKind::Failed(_) | EventKind::Cancelled => self.end(id),
            EventKind::Registered { .. } | EventKind::Transfer(_) => {}
        }
    }

    fn finish(&mut self) {
        let _ = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use kiln_engine::progress::LogStream;

    use super::*;

    fn event(step: u32, milliseconds: u64, kind: EventKind) -> Event {
        Event { at: SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds), step: StepId(step), kind }
    }

    fn registered(name: &str) -> EventKind {
        EventKind::Registered { name: name.to_owned(), digest: None, inputs: Vec::new(), stage: None }
    }

    fn above(name: &str, input: u32) -> EventKind {
        let inputs = vec![StepId(input)];
        EventKind::Registered { name: name.to_owned(), digest: None, inputs, stage: None }
    }

    fn log(text: &str) -> EventKind {
        EventKind::Log { stream: LogStream::Stdout, bytes: text.as_bytes().to_vec() }
    }

    #[test]
    fn it_reads_like_buildkits() {
        let mut out = Vec::new();
        let mut plain = Plain::new(&mut out);
        for event in [
            event(7, 0, registered("[1/3] FROM docker.io/library/busybox")),
            event(8, 0, registered("[2/3] RUN make")),
            event(9, 0, registered("[3/3] RUN tests")),
            event(6, 0, above("[base 2/2] RUN prepare", 7)),
            event(7, 0, EventKind::Cached),
            event(6, 0, EventKind::Cached),
            event(8, 100, EventKind::Started),
            event(8, 223, log("compiling\nlin")),
            event(9, 230, EventKind::Started),
            event(9, 240, log("test 1\n")),
            event(8, 300, log("king\x1b[2J\n")),
            event(8, 1100, EventKind::Done),
            event(9, 1200, EventKind::Failed("exit code: 1".to_owned())),
        ] {
            plain.event(event);
        }
        let expected = "\
#1 [1/3] FROM docker.io/library/busybox
#1 DONE 0.0s

#2 [base 2/2] RUN prepare
#2 CACHED

#3 [2/3] RUN make
#3 0.123 compiling

#4 [3/3] RUN tests
#4 0.010 test 1

#3 [2/3] RUN make
#3 0.200 linking\\x1b[2J
#3 DONE 1.0s

#4 [3/3] RUN tests
#4 ERROR: exit code: 1
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
