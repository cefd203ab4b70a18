//! What `kiln serve` lets others see: numbers, health, traces.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::daemon::Daemon;
use crate::harness::{Kiln, free_port, tool, wait_for};

/// A build of the classic builder from nothing, and one that fails.
fn build_twice(kiln: &Kiln, daemon: &Daemon<'_>) {
    let context = kiln.context("context", &[("Dockerfile", "FROM scratch\nCOPY a /a\n"), ("a", "a")]);
    daemon.ok(&["build", "-t", "observed", context.to_str().unwrap()]);
    let context = kiln.context("broken", &[("Dockerfile", "FROM scratch\nCOPY absent /a\n")]);
    daemon.fails(1, &["build", context.to_str().unwrap()]);
}

#[test]
fn numbers_and_health_are_there_for_monitoring() {
    let kiln = Kiln::new();
    let socket = kiln.scratch("run").join("kiln.sock");
    let (address, port) = (format!("unix://{}", socket.display()), free_port());
    let monitor = format!("127.0.0.1:{port}");
    let mut command = kiln.command(&["serve", "--addr", &address, "--metrics-addr", &monitor]);
    let daemon = Daemon::of(&kiln, command.stderr(Stdio::null()), socket);
    build_twice(&kiln, &daemon);
    let url = |path: &str| format!("http://{monitor}{path}");
    let text = tool("curl", &["-sf", &url("/metrics")]);
    for line in [
        "kiln_builds_total{result=\"completed\"} 1",
        "kiln_builds_total{result=\"failed\"} 1",
        "kiln_build_duration_seconds_count 2",
        "kiln_builds_running 0",
        "# TYPE kiln_build_duration_seconds histogram",
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
    }
    assert_eq!(tool("curl", &["-sf", &url("/healthz")]), "ok");
    // The API itself is not there, and the numbers are on the API's own doors too.
    for path in ["/_ping", "/info", "/images/json"] {
        assert_eq!(
            tool("curl", &["-s", "-o", "/dev/null", "-w", "%{http_code}", &url(path)]),
            "404",
            "{path}"
        );
    }
    let answer = daemon.ask("GET /metrics", "", "");
    assert!(answer.contains("kiln_http_requests_total{code=\"2xx\"}"), "{answer}");
}

#[test]
fn a_collector_gets_a_trace_of_each_build() {
    let kiln = Kiln::new();
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let socket = kiln.scratch("run").join("kiln.sock");
    let mut command = kiln.command(&["serve", "--addr", &format!("unix://{}", socket.display())]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).env("OTEL_EXPORTER_OTLP_HEADERS", "x-token=a%20b");
    command.env("OTEL_SERVICE_NAME", "test").stderr(Stdio::null());
    let daemon = Daemon::of(&kiln, &mut command, socket);
    // Nobody answers yet, and no build waits for that.
    build_twice(&kiln, &daemon);
    let spans = [receive(&collector), receive(&collector)].map(|told| {
        let resource = &told["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "test");
        resource["scopeSpans"][0]["spans"].as_array().unwrap().clone()
    });
    let [well, broken] = &spans;
    let code = |span: &Value| span["status"]["code"].as_u64().unwrap();
    assert_eq!((code(&well[0]), code(&broken[0])), (1, 2));
    assert_ne!(well[0]["traceId"], broken[0]["traceId"]);
    let copy = well.iter().find(|span| span["name"].as_str().unwrap().contains("COPY a /a")).unwrap();
    assert_eq!((&copy["traceId"], &copy["parentSpanId"]), (&well[0]["traceId"], &well[0]["spanId"]));
    assert!(copy["endTimeUnixNano"].as_str().unwrap() >= copy["startTimeUnixNano"].as_str().unwrap());
}

/// The body of one request, which is answered well.
fn receive(collector: &TcpListener) -> Value {
    collector.set_nonblocking(true).unwrap();
    let mut taken = None;
    wait_for("a trace", || {
        taken = collector.accept().ok();
        taken.is_some()
    });
    let (stream, _) = taken.unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/json\r\n") && head.contains("x-token: a b\r\n"),
        "{head}"
    );
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
    serde_json::from_slice(&body).unwrap()
}
