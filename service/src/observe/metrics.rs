//! Numbers for monitoring, in the text form of Prometheus (exposition format 0.0.4).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use super::{Build, Outcome};

/// Where they are asked for.
pub(crate) const PATH: &str = "/metrics";

/// Upper bounds of the lengths of builds that are told apart, in seconds.
const BOUNDS: [f64; 10] = [0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0];
/// `1xx` to `5xx`.
const CLASSES: usize = 5;

/// What is counted from the start on.
pub(super) struct Metrics {
    began: SystemTime,
    requests: [AtomicU64; CLASSES],
    completed: AtomicU64,
    cancelled: AtomicU64,
    failed: AtomicU64,
    steps_run: AtomicU64,
    steps_cached: AtomicU64,
    lengths: [AtomicU64; BOUNDS.len()],
    length_sum: AtomicU64,
}

/// What is so at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) builds: usize,
    pub(crate) sessions: usize,
    pub(crate) connections: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            began: SystemTime::now(),
            requests: Default::default(),
            completed: AtomicU64::default(),
            cancelled: AtomicU64::default(),
            failed: AtomicU64::default(),
            steps_run: AtomicU64::default(),
            steps_cached: AtomicU64::default(),
            lengths: Default::default(),
            length_sum: AtomicU64::default(),
        }
    }
}

impl Metrics {
    pub(super) fn request(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES) - 1;
        self.requests[class].fetch_add(1, Relaxed);
    }

    pub(super) fn build(&self, build: &Build) {
        let outcome = match build.outcome {
            Outcome::Completed => &self.completed,
            Outcome::Cancelled => &self.cancelled,
            Outcome::Failed(_) => &self.failed,
        };
        outcome.fetch_add(1, Relaxed);
        let done = build.steps.iter().filter(|step| step.ended.is_some());
        for step in done {
            let kind = if step.cached { &self.steps_cached } else { &self.steps_run };
            kind.fetch_add(1, Relaxed);
        }
        let length = build.ended.duration_since(build.began).unwrap_or_default();
        self.length_sum.fetch_add(u64::try_from(length.as_micros()).unwrap_or(u64::MAX), Relaxed);
        if let Some(at) = BOUNDS.iter().position(|bound| length.as_secs_f64() <= *bound) {
            self.lengths[at].fetch_add(1, Relaxed);
        }
    }

    pub(super) fn builds(&self) -> u64 {
        [&self.completed, &self.failed, &self.cancelled].iter().map(|number| number.load(Relaxed)).sum()
    }

    pub(super) fn text(&self, gauges: &Gauges, lost: u64) -> String {
        let mut page = Page(String::new());
        let count = |number: &AtomicU64| number.load(Relaxed) as f64;
        let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
        page.metric("kiln_build_info", "gauge", "Which kiln this is.", &[(&version, 1.0)]);
        let classes: Vec<String> = (1..=CLASSES).map(|class| format!("code=\"{class}xx\"")).collect();
        let requests: Vec<(&str, f64)> = classes
            .iter()
            .zip(&self.requests)
            .map(|(class, number)| (class.as_str(), count(number)))
            .collect();
        page.metric(
            "kiln_http_requests_total",
            "counter",
            "Requests by the class of their answer.",
            &requests,
        );
        page.gauge("kiln_connections", "Connections that are open.", gauges.connections as f64);
        page.gauge("kiln_sessions", "BuildKit sessions that are open.", gauges.sessions as f64);
        page.gauge("kiln_builds_running", "Builds that run.", gauges.builds as f64);
        let ends = [
            ("result=\"completed\"", count(&self.completed)),
            ("result=\"failed\"", count(&self.failed)),
            ("result=\"cancelled\"", count(&self.cancelled)),
        ];
        page.metric("kiln_builds_total", "counter", "Builds by how they ended.", &ends);
        let steps =
            [("result=\"run\"", count(&self.steps_run)), ("result=\"cached\"", count(&self.steps_cached))];
        page.metric("kiln_build_steps_total", "counter", "Steps of builds that ended.", &steps);
        self.lengths(&mut page, ends.iter().map(|(_, number)| number).sum());
        let lost = [("", lost as f64)];
        page.metric("kiln_traces_lost_total", "counter", "Traces that no collector took.", &lost);
        process(&mut page, self.began);
        page.0
    }

    fn lengths(&self, page: &mut Page, all: f64) {
        const NAME: &str = "kiln_build_duration_seconds";
        page.head(NAME, "histogram", "How long builds took.");
        let mut below = 0.0;
        for (bound, number) in BOUNDS.iter().zip(&self.lengths) {
            below += number.load(Relaxed) as f64;
            page.line(&format!("{NAME}_bucket"), &format!("le=\"{bound}\""), below);
        }
        page.line(&format!("{NAME}_bucket"), "le=\"+Inf\"", all);
        let sum = Duration::from_micros(self.length_sum.load(Relaxed)).as_secs_f64();
        page.line(&format!("{NAME}_sum"), "", sum);
        page.line(&format!("{NAME}_count"), "", all);
    }
}

/// The numbers that every program gives of itself.
fn process(page: &mut Page, began: SystemTime) {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    page.metric("process_cpu_seconds_total", "counter", "Processor time in seconds.", &[("", seconds)]);
    page.gauge("process_resident_memory_bytes", "Memory in use.", resident() as f64);
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    page.gauge("process_open_fds", "Open files.", files as f64);
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    page.gauge("process_threads", "Threads.", threads as f64);
    let began = began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    page.gauge("process_start_time_seconds", "When it started, in seconds since 1970.", began);
}

/// `VmRSS` of `/proc/self/status`, which is in kibibytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// A page that is being written.
struct Page(String);

impl Page {
    fn metric(&mut self, name: &str, kind: &str, help: &str, values: &[(&str, f64)]) {
        self.head(name, kind, help);
        values.iter().for_each(|(labels, value)| self.line(name, labels, *value));
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.metric(name, "gauge", help, &[("", value)]);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::*;

    fn build(seconds: u64, outcome: Outcome) -> Build {
        let began = UNIX_EPOCH;
        let done = Step { ended: Some(began), ..Step::default() };
        let steps = vec![Step { cached: true, ..done.clone() }, done, Step::default()];
        let ended = began + Duration::from_secs(seconds);
        let (reference, frontend) = ("r".to_owned(), "f".to_owned());
        Build { reference, frontend, began, ended, outcome, steps, parent: None }
    }

    #[test]
    fn everything_that_happened_is_counted_once() {
        let metrics = Metrics::default();
        [200, 204, 404, 101, 599, 999].into_iter().for_each(|status| metrics.request(status));
        metrics.build(&build(3, Outcome::Completed));
        metrics.build(&build(3, Outcome::Failed("why".to_owned())));
        metrics.build(&build(40_000, Outcome::Cancelled));
        let text = metrics.text(&Gauges { builds: 7, sessions: 1, connections: 2 }, 5);
        for line in [
            "kiln_http_requests_total{code=\"1xx\"} 1",
            "kiln_http_requests_total{code=\"2xx\"} 2",
            "kiln_http_requests_total{code=\"4xx\"} 1",
            "kiln_http_requests_total{code=\"5xx\"} 2",
            "kiln_builds_running 7",
            "kiln_builds_total{result=\"failed\"} 1",
            "kiln_build_steps_total{result=\"run\"} 3",
            "kiln_build_steps_total{result=\"cached\"} 3",
            "kiln_build_duration_seconds_bucket{le=\"1\"} 0",
            "kiln_build_duration_seconds_bucket{le=\"5\"} 2",
            "kiln_build_duration_seconds_bucket{le=\"1800\"} 2",
            "kiln_build_duration_seconds_bucket{le=\"+Inf\"} 3",
            "kiln_build_duration_seconds_sum 40006",
            "kiln_build_duration_seconds_count 3",
            "kiln_traces_lost_total 5",
        ] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        }
    }

    #[test]
    fn every_line_belongs_to_a_metric_that_was_announced_once() {
        let text = Metrics::default().text(&Gauges::default(), 0);
        let mut announced = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(announced.insert(rest.split(' ').next().unwrap().to_owned()), "{line}");
            } else if !line.starts_with("# HELP ") {
                let name = line.split(['{', ' ']).next().unwrap();
                let name = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end))
                    .unwrap_or(name);
                assert!(announced.contains(name), "{line}");
                assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(resident() > 1 << 20);
    }
}
