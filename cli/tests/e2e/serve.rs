//! `kiln serve`: its doors, what it says of itself, and what it does with requests that nobody should send.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use crate::daemon::Daemon;
use crate::harness::{Kiln, free_port, show, text, tool, wait_for};

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

/// The message of a failure.
fn message(answer: &str) -> String {
    let body = answer.rsplit("\r\n\r\n").next().unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer}"));
    value["message"].as_str().unwrap_or_else(|| panic!("no message: {answer}")).to_owned()
}

#[test]
fn the_socket_is_for_its_group_and_goes_with_the_daemon() {
    let kiln = Kiln::new();
    let mut daemon = Daemon::start(&kiln);
    let metadata = fs::symlink_metadata(&daemon.socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);

    let address = format!("unix://{}", daemon.socket.display());
    let said = kiln.fails(1, &["serve", "--addr", &address]);
    assert!(said.contains("another daemon listens at"), "{said}");
    assert_eq!(status(&daemon.ask("GET /_ping", "", "")), "200", "the first daemon goes on");

    assert_eq!(daemon.stop(), Some(0));
    assert!(!daemon.socket.exists());
    drop(daemon);
    // What a daemon that was killed leaves is replaced.
    drop(UnixListener::bind(kiln.scratch("run").join("kiln.sock")).unwrap());
    let daemon = Daemon::start(&kiln);
    assert_eq!(status(&daemon.ask("GET /_ping", "", "")), "200");
}

#[test]
fn versions_are_negotiated() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    for line in ["HEAD /_ping", "GET /_ping", "GET /v1.40/_ping", "GET /v1.51/_ping"] {
        let answer = daemon.ask(line, "", "").to_ascii_lowercase();
        assert_eq!(status(&answer), "200", "{line}: {answer}");
        for header in [
            "api-version: 1.51",
            "builder-version: 2",
            "ostype: linux",
            "docker-experimental: false",
            "swarm: inactive",
        ] {
            assert!(answer.contains(header), "{line}: no `{header}` in {answer}");
        }
    }
    let new = daemon.ask("GET /v1.99/info", "", "");
    assert_eq!(
        (status(&new), message(&new).as_str()),
        ("400", "client version 1.99 is too new. Maximum supported API version is 1.51")
    );
    let old = daemon.ask("GET /v1.12/info", "", "");
    assert_eq!(status(&old), "400");
    assert!(
        message(&old).starts_with("client version 1.12 is too old. Minimum supported API version is 1.40")
    );
    let version = daemon.ok(&[
        "version",
        "--format",
        "{{.Server.APIVersion}} {{.Server.MinAPIVersion}} {{.Server.Os}}",
    ]);
    assert_eq!(version, "1.51 1.40 linux");
    let mut older = daemon.docker(&["version", "--format", "{{.Client.APIVersion}}"]);
    assert_eq!(text(&older.env("DOCKER_API_VERSION", "1.41").output().unwrap().stdout), "1.41");
    let info = daemon.ok(&[
        "info",
        "--format",
        "{{.OSType}} {{.LoggingDriver}} {{.Swarm.LocalNodeState}} {{.DockerRootDir}}",
    ]);
    assert_eq!(info, format!("linux json-file inactive {}", kiln.root().display()));
}

#[test]
fn what_is_not_there_is_told_by_name() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    for line in ["GET /nothing", "GET /v1.44/nothing", "POST /_ping", "GET /v1.x/info"] {
        let answer = daemon.ask(line, "", "");
        assert_eq!((status(&answer), message(&answer).as_str()), ("404", "page not found"), "{line}");
    }
    let swarm = daemon.ask("GET /services", "", "");
    assert_eq!(status(&swarm), "503");
    assert!(message(&swarm).contains("not a swarm manager"));
    for (line, what) in [
        ("POST /commit", "`docker commit`"),
        ("GET /containers/x/stats", "`docker stats`"),
        ("GET /containers/x/changes", "`docker diff`"),
    ] {
        let answer = daemon.ask(line, "", "");
        assert_eq!(status(&answer), "501", "{line}: {answer}");
        assert!(message(&answer).contains(what), "{line}: {answer}");
    }
    for (line, words) in [
        ("GET /containers/nosuch/json", "No such container: nosuch"),
        ("GET /images/no/such:1/json", "No such image: no/such:1"),
        ("GET /volumes/nosuch", "get nosuch: no such volume"),
        ("GET /networks/nosuch", "network nosuch not found"),
        ("GET /exec/nosuch/json", "No such exec instance: nosuch"),
    ] {
        let answer = daemon.ask(line, "", "");
        assert_eq!((status(&answer), message(&answer).as_str()), ("404", words), "{line}");
    }
}

#[test]
fn malformed_requests_are_answered_and_hurt_nobody() {
    const JSON: &str = "Content-Type: application/json\r\n";
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    let create = "POST /containers/create";
    for (headers, body, expected) in [
        (JSON, "{", "400"),
        (JSON, "[]", "400"),
        (JSON, "", "400"),
        (JSON, r#"{"Image":7}"#, "400"),
        (JSON, r#"{"Image":"no/such"}"#, "404"),
        ("Content-Type: text/plain\r\n", r#"{"Image":"x"}"#, "415"),
        ("", r#"{"Image":"x"}"#, "415"),
    ] {
        let answer = daemon.ask(create, headers, body);
        assert_eq!(status(&answer), expected, "{body}: {answer}");
        message(&answer);
    }
    let large = format!("{{\"Image\":\"{}\"}}", "x".repeat(5 << 20));
    assert_eq!(status(&daemon.ask(create, JSON, &large)), "413");
    for query in ["filters=%7B", "filters=%7B%22colour%22%3A%5B%22red%22%5D%7D", "limit=x"] {
        let answer = daemon.ask(&format!("GET /containers/json?{query}"), "", "");
        assert_eq!(status(&answer), "400", "{query}: {answer}");
    }
    let auth = daemon.ask("POST /images/create?fromImage=busybox", "X-Registry-Auth: ???\r\n", "");
    assert_eq!((status(&auth), message(&auth).as_str()), ("400", "invalid x-registry-auth header"));
    for (request, expected) in [
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (format!("GET /_ping HTTP/1.1\r\nHost: d\r\nX: {}\r\n\r\n", "x".repeat(100 << 10)), "431"),
        (format!("GET /_ping HTTP/1.1\r\nHost: d\r\n{}\r\n", "A: b\r\n".repeat(200)), "431"),
        (
            "POST /volumes/create HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"
                .to_owned(),
            "400",
        ),
    ] {
        let answer = daemon.raw(request.as_bytes());
        assert_eq!(status(&answer), expected, "{answer}");
    }
    assert_eq!(status(&daemon.ask("GET /_ping", "", "")), "200");
}

#[test]
fn http_2_is_spoken_on_the_same_socket() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    let socket = daemon.socket.to_str().unwrap();
    let said = tool(
        "curl",
        &[
            "-s",
            "--http2-prior-knowledge",
            "--unix-socket",
            socket,
            "-w",
            " %{http_version}",
            "http://docker/_ping",
        ],
    );
    assert_eq!(said, "OK 2");
}

#[test]
fn tcp_is_for_those_with_a_certificate() {
    let kiln = Kiln::new();
    let said = kiln.fails(1, &["serve", "--addr", "tcp://127.0.0.1:0"]);
    assert!(said.contains("mutual TLS") && said.contains("--tlscacert"), "{said}");

    let dir = kiln.scratch("certificates");
    let file = |name: &str| dir.join(name).display().to_string();
    let (ca, ca_key) = (file("ca.pem"), file("ca.key"));
    let ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let authority =
        ["req", "-x509", "-subj", "/CN=test authority", "-days", "2", "-keyout", &ca_key, "-out", &ca];
    tool("openssl", &[&authority[..], &ec].concat());
    for (name, alternative) in [
        ("server", "subjectAltName=DNS:builder.test,IP:127.0.0.1"),
        ("client", "extendedKeyUsage=clientAuth"),
    ] {
        let (key, cert) = (file(&format!("{name}.key")), file(&format!("{name}.pem")));
        let request = [
            "req",
            "-x509",
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-subj",
            "/CN=test",
            "-days",
            "2",
            "-addext",
            alternative,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            &key,
            "-out",
            &cert,
        ];
        tool("openssl", &[&request[..], &ec].concat());
    }

    let (port, socket) = (free_port(), dir.join("kiln.sock"));
    let tcp = format!("tcp://127.0.0.1:{port}");
    let unix = format!("unix://{}", socket.display());
    let tls = ["--tlscacert", &ca, "--tlscert", &file("server.pem"), "--tlskey", &file("server.key")]
        .map(str::to_owned);
    let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
    let mut serve = kiln.command(&[&["serve", "--addr", &tcp, "--addr", &unix][..], &tls].concat());
    let mut daemon = serve.stderr(Stdio::null()).spawn().unwrap();
    wait_for("the daemon", || UnixStream::connect(&socket).is_ok());

    let client =
        ["--cacert", &ca, "--cert", &file("client.pem"), "--key", &file("client.key")].map(str::to_owned);
    let curl = |more: &[&str]| {
        let base = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "20"];
        let output = Command::new("curl").args(base).args(more).output().unwrap();
        text(&output.stdout)
    };
    let client: Vec<&str> = client.iter().map(String::as_str).collect();
    let ping = format!("https://127.0.0.1:{port}/_ping");
    assert_eq!(curl(&[&client[..], &[&ping]].concat()), "200");
    assert_eq!(curl(&["--cacert", &ca, &ping]), "000", "without a certificate nobody is let in");
    assert_eq!(curl(&[&format!("http://127.0.0.1:{port}/_ping")]), "000", "nor without TLS");
    let with = |header: &str| curl(&[&client[..], &["-H", header, &ping]].concat());
    assert_eq!(with("Host: builder.test"), "200");
    assert_eq!(with("Host: evil.example"), "403");
    assert_eq!(with("Origin: https://evil.example"), "403");
    let mut docker = Command::new("docker");
    docker.args([
        "--tlsverify",
        "--tlscacert",
        &ca,
        "--tlscert",
        &file("client.pem"),
        "--tlskey",
        &file("client.key"),
        "-H",
        &tcp,
    ]);
    let output =
        docker.args(["version", "--format", "{{.Server.Os}}"]).env("DOCKER_CONFIG", &dir).output().unwrap();
    assert_eq!(text(&output.stdout), "linux", "{}", show(&output));

    rustix::process::kill_process(rustix::process::Pid::from_child(&daemon), rustix::process::Signal::INT)
        .unwrap();
    assert!(daemon.wait().unwrap().success());
}

#[test]
fn systemd_can_open_the_socket() {
    let kiln = Kiln::new();
    let socket = kiln.scratch("run").join("activated.sock");
    let kiln_command = kiln.command(&["serve", "--addr", "fd://"]);
    let mut activate = Command::new("systemd-socket-activate");
    activate.arg("-l").arg(&socket);
    for (name, value) in kiln_command.get_envs() {
        let assignment = format!("{}={}", name.to_str().unwrap(), value.unwrap().to_str().unwrap());
        activate.args(["-E", &assignment]);
    }
    activate.arg(kiln_command.get_program()).args(kiln_command.get_args());
    let mut daemon = activate.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the socket", || socket.exists());
    let said = tool("curl", &["-s", "--unix-socket", socket.to_str().unwrap(), "http://docker/_ping"]);
    rustix::process::kill_process(rustix::process::Pid::from_child(&daemon), rustix::process::Signal::TERM)
        .unwrap();
    daemon.wait().unwrap();
    assert_eq!(said, "OK");
    let said = kiln.fails(1, &["serve", "--addr", "fd://"]);
    assert!(said.contains("no sockets were handed over"), "{said}");
}

#[test]
fn nothing_of_many_requests_stays() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    let ask = || {
        assert_eq!(status(&daemon.ask("GET /containers/json?all=1", "", "")), "200");
        assert_eq!(
            status(&daemon.ask(
                "POST /containers/nosuch/attach?stream=1",
                "Connection: Upgrade\r\nUpgrade: tcp\r\n",
                ""
            )),
            "404"
        );
    };
    (0..20).for_each(|_| ask());
    let files = || crate::daemon::count(daemon.pid(), "fd");
    let before = files();
    (0..200).for_each(|_| ask());
    wait_for("connections to be closed", || files() <= before + 3);
}

#[test]
fn buildkit_s_clients_are_answered_on_the_same_socket() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /// Frames: their length, type, flags and stream.
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    let (request, answer) = (kiln.root().join("request"), kiln.root().join("answer"));
    // A gRPC message without compression, of no bytes.
    fs::write(&request, [0; 5]).unwrap();
    let (socket, body) = (daemon.socket.to_str().unwrap(), format!("@{}", request.display()));
    let call = |method: &str| {
        let url = format!("http://docker/{method}");
        let headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"];
        let to = ["-s", "--http2-prior-knowledge", "--unix-socket", socket, "-D", "-", "-o"];
        let rest = [answer.to_str().unwrap(), "--data-binary", &body, &url];
        tool("curl", &[&to[..], &rest, &headers].concat())
    };
    let said = call("moby.buildkit.v1.Control/ListWorkers");
    assert!(said.contains("grpc-status: 0"), "{said}");
    let workers = fs::read(&answer).unwrap();
    assert!(workers.windows(5).any(|bytes| bytes == b"linux"), "{}", workers.escape_ascii());
    // Who has said all before the refusal sees no stream that was broken off.
    fs::write(&request, []).unwrap();
    assert!(call("moby.buildkit.v1.Control/None").contains("grpc-status: 12"), "no such method");

    let take_over = |path: &str, headers: &str| {
        let mut stream = UnixStream::connect(&daemon.socket).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: docker\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let upgrade = "Connection: Upgrade\r\nUpgrade: h2c\r\n";
    let mut stream = take_over("/v1.41/grpc", upgrade);
    stream.write_all(&[PREFACE, SETTINGS].concat()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", answer.escape_ascii());
    assert_eq!(answer[head + 3], SETTINGS[3], "the daemon speaks HTTP/2 then: {}", answer.escape_ascii());

    let refused = |path: &str, headers: &str| {
        let mut answer = String::new();
        let mut stream = take_over(path, &format!("{headers}Connection: close\r\nContent-Length: 0\r\n"));
        stream.read_to_string(&mut answer).unwrap();
        (status(&answer).to_owned(), message(&answer))
    };
    assert_eq!(refused("/grpc", "").0, "400");
    let (code, why) = refused("/session", upgrade);
    assert!(code == "400" && why.contains("x-docker-expose-session-uuid"), "{code} {why}");
}
