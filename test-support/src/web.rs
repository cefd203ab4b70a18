//! A web server in this process, on loopback, that answers as a test says.
//!
//! It is made of plain sockets, so that it can lie about everything; each answer ends its connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A server on a free port of 127.0.0.1 until it is dropped.
#[derive(Debug)]
pub struct Web {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query.
    pub query: String,
    /// The headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Web {
    /// Serves what `answer` says.
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a loopback port");
        let address = listener.local_addr().expect("the bound address");
        let (asked, stop) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<AtomicBool>::default());
        let (log, stopped, answer) = (Arc::clone(&asked), Arc::clone(&stop), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                // A client that goes away is no concern of the server's.
                std::thread::spawn(move || drop(serve(stream, &log, answer.as_ref())));
            }
        });
        Web { address, asked, stop, thread: Some(thread) }
    }

    /// Serves the bare repositories in the folder `root` with git's smart protocol.
    pub fn git(root: &Path) -> Web {
        let root = root.to_owned();
        Web::start(move |asked| git_backend(&root, asked))
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            // A panic there has failed the test already.
            let _ = thread.join();
        }
    }
}

impl Asked {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Reply {
    /// A status and nothing else.
    pub fn status(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Vec::new() }
    }

    /// A file.
    pub fn body(body: impl Into<Vec<u8>>) -> Reply {
        Reply { body: body.into(), ..Reply::status(200) }
    }

    /// The same with a header; `content-length` replaces the true one.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The same with another status.
    pub fn with_status(self, status: u16) -> Reply {
        Reply { status, ..self }
    }

    fn write(&self, to: &mut impl Write) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} As the test wants it\r\nconnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.headers.iter().any(|(name, _)| name == "content-length") && self.status != 304 {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        to.write_all(head.as_bytes())?;
        to.write_all(b"\r\n")?;
        to.write_all(&self.body)
    }
}

fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<Asked>>,
    answer: &(dyn Fn(&Asked) -> Reply + Send + Sync),
) -> std::io::Result<()> {
    let Some(asked) = read(&mut BufReader::new(&mut stream))? else { return Ok(()) };
    log.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
    answer(&asked).write(&mut stream)
}

fn read(from: &mut impl BufRead) -> std::io::Result<Option<Asked>> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut asked = Asked {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        ..Asked::default()
    };
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    match asked.header("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => drop(from.take(length).read_to_end(&mut asked.body)?),
        None if asked.header("transfer-encoding") == Some("chunked") => read_chunks(from, &mut asked.body)?,
        None => {}
    }
    Ok(Some(asked))
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
        from.by_ref().take(length).read_to_end(body)?;
        from.read_line(&mut String::new())?;
        if length == 0 {
            return Ok(());
        }
    }
}

/// What git's smart protocol answers of the repositories in the folder `root`, by the CGI program `git http-backend`.
pub fn git_backend(root: &Path, asked: &Asked) -> Reply {
    let header = |name: &str| asked.header(name).unwrap_or_default().to_owned();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("PATH_INFO", &asked.path)
        .env("QUERY_STRING", &asked.query)
        .env("REQUEST_METHOD", &asked.method)
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program `git`");
    let mut input = child.stdin.take().expect("a pipe");
    let body = asked.body.clone();
    let writer = std::thread::spawn(move || drop(input.write_all(&body)));
    let output = child.wait_with_output().expect("the end of git").stdout;
    writer.join().expect("the body was written");
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").map_or(output.len(), |at| at + 4);
    let mut reply = Reply::body(&output[end..]);
    for (name, value) in
        String::from_utf8_lossy(&output[..end]).lines().filter_map(|line| line.split_once(':'))
    {
        match name.eq_ignore_ascii_case("status") {
            true => reply.status = value.trim().get(..3).and_then(|code| code.parse().ok()).unwrap_or(500),
            false => reply = reply.header(&name.to_ascii_lowercase(), value.trim()),
        }
    }
    reply
}
