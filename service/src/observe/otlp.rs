//! Traces on their way to a collector: a short queue, one sender, and nobody who waits for either (OTLP over HTTP, JSON).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::{Build, trace};

/// Traces that may wait; more are lost.
const QUEUE: usize = 64;
/// How long a collector may take where nobody says.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is added to an address that is for all signals.
const SIGNAL: &str = "v1/traces";
const SERVICE: &str = "kiln";

/// Where traces are sent, as OpenTelemetry's variables say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    endpoint: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// An authority beside the system's.
    certificate: Option<PathBuf>,
    patience: Duration,
    service: String,
}

/// Why a variable cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{variable}`: {why}")]
pub struct TracesError {
    variable: String,
    why: &'static str,
}

impl Traces {
    /// What the variables say; nothing where there is no collector.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Traces>, TracesError> {
        let said = |name: &str| variable(name).filter(|text| !text.is_empty());
        // What is for traces alone comes before what is for all signals.
        let either = |rest: &str| {
            let (own, all) =
                (format!("OTEL_EXPORTER_OTLP_TRACES_{rest}"), format!("OTEL_EXPORTER_OTLP_{rest}"));
            said(&own).map(|text| (own, text)).or_else(|| said(&all).map(|text| (all, text)))
        };
        let off = said("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let Some((name, text)) =
            either("ENDPOINT").filter(|_| !off && said("OTEL_TRACES_EXPORTER").as_deref() != Some("none"))
        else {
            return Ok(None);
        };
        let wrong = |variable: &str, why| TracesError { variable: variable.to_owned(), why };
        let is_whole = name.contains("TRACES");
        let text = if is_whole { text } else { format!("{}/{SIGNAL}", text.trim_end_matches('/')) };
        let endpoint: Uri = text.parse().map_err(|_| wrong(&name, "it is no URL"))?;
        if !matches!(endpoint.scheme_str(), Some("http" | "https")) || endpoint.host().is_none() {
            return Err(wrong(&name, "it is no URL of HTTP"));
        }
        if let Some((name, _)) = either("PROTOCOL").filter(|(_, protocol)| protocol == "grpc") {
            return Err(wrong(&name, "kiln sends traces over HTTP, `http/json`"));
        }
        let mut headers = Vec::new();
        if let Some((name, text)) = either("HEADERS") {
            for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
                headers.push(pair_of(pair).ok_or_else(|| wrong(&name, "it is `NAME=VALUE,…`"))?);
            }
        }
        let patience = match either("TIMEOUT") {
            None => PATIENCE,
            Some((name, text)) => match text.parse::<u64>() {
                Ok(milliseconds @ 1..) => Duration::from_millis(milliseconds),
                _ => return Err(wrong(&name, "it is a number of milliseconds")),
            },
        };
        let certificate = either("CERTIFICATE").map(|(_, path)| PathBuf::from(path));
        let service = said("OTEL_SERVICE_NAME").unwrap_or_else(|| SERVICE.to_owned());
        Ok(Some(Traces { endpoint, headers, certificate, patience, service }))
    }
}

/// `NAME=VALUE`, the value as in a URL.
fn pair_of(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let mut bytes = Vec::new();
    let mut rest = value.trim().as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = (*first == b'%').then(|| std::str::from_utf8(after.get(..2)?).ok()).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    let mut value = HeaderValue::from_bytes(&bytes).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}

/// Where builds wait that a collector shall hear of.
pub(super) struct Queue {
    sender: mpsc::Sender<Build>,
    lost: Arc<AtomicU64>,
}

impl Queue {
    /// Puts a build in, or loses it where the queue is full.
    pub(super) fn push(&self, build: Build) {
        if self.sender.try_send(build).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Begins to send; in a runtime. It ends when the queue goes.
pub(super) fn start(traces: Traces) -> Queue {
    let (sender, mut builds) = mpsc::channel::<Build>(QUEUE);
    let lost = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&lost);
    tokio::spawn(async move {
        let mut is_well = true;
        while let Some(build) = builds.recv().await {
            let body = trace::request(&build, &traces.service, random).to_string();
            let sent = tokio::time::timeout(traces.patience, send(&traces, body)).await;
            let sent = sent.unwrap_or_else(|_| Err("it does not answer".to_owned()));
            if let Err(why) = &sent {
                counted.fetch_add(1, Ordering::Relaxed);
                // Once is enough, until it was well again.
                if is_well {
                    tracing::warn!(why, "the collector of traces did not take one");
                }
            }
            is_well = sent.is_ok();
        }
    });
    Queue { sender, lost }
}

/// `bytes` that nobody can guess, in hexadecimal digits.
fn random(bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    // Where the kernel gives none the id is not one, and the collector says so.
    let _ = rustix::rand::getrandom(&mut buffer, rustix::rand::GetRandomFlags::empty());
    buffer.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn send(traces: &Traces, body: String) -> Result<(), String> {
    let host = traces.endpoint.host().unwrap_or_default();
    let is_tls = traces.endpoint.scheme_str() == Some("https");
    let port = traces.endpoint.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await.map_err(|error| error.to_string())?;
    if !is_tls {
        return post(traces, stream, body).await;
    }
    let name = ServerName::try_from(bare.to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(tls(traces)?));
    let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
    post(traces, stream, body).await
}

fn tls(traces: &Traces) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match &traces.certificate {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let unusable =
                |error: &dyn std::fmt::Display| format!("cannot use `{}`: {error}", path.display());
            let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| unusable(&error))?;
                roots.add(certificate).map_err(|error| unusable(&error))?;
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

async fn post<S>(traces: &Traces, stream: S, body: String) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let driving = tokio::spawn(connection);
    let path = traces.endpoint.path_and_query().map_or("/", |path| path.as_str());
    let authority = traces.endpoint.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let mut request = Request::post(path)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close");
    for (name, value) in &traces.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::<Bytes>::from(body)).map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await;
    driving.abort();
    match answer.map_err(|error| error.to_string())?.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("it answered {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Traces>, TracesError> {
        Traces::of(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_variables_say_where_and_how() {
        const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c.example:4318/");
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[ALL, ("OTEL_SDK_DISABLED", "true")]), Ok(None));
        assert_eq!(of(&[ALL, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
        let found = of(&[ALL, ("OTEL_SERVICE_NAME", "ci")]).unwrap().unwrap();
        assert_eq!(found.endpoint, "http://c.example:4318/v1/traces");
        assert_eq!((found.patience, &found.service[..]), (PATIENCE, "ci"));
        let own = [
            ALL,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t.example/x"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20a, x-b=c%zz"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
        ];
        let found = of(&own).unwrap().unwrap();
        assert_eq!(found.endpoint, "https://t.example/x");
        assert_eq!(found.patience, Duration::from_millis(250));
        let headers: Vec<_> =
            found.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(headers, [("authorization", "Bearer a"), ("x-b", "c%zz")]);
        for bad in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "c.example:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://c.example"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "nothing"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ] {
            assert_eq!(of(&[bad, ALL]).unwrap_err().variable, bad.0);
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_a_collector_that_is_dead() {
        // It takes connections and never answers.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &address[..]), ("OTEL_EXPORTER_OTLP_TIMEOUT", "50")];
        let queue = start(of(&variables).unwrap().unwrap());
        let now = std::time::SystemTime::now();
        let build = Build {
            reference: String::new(),
            frontend: String::new(),
            began: now,
            ended: now,
            outcome: super::super::Outcome::Completed,
            steps: Vec::new(),
            parent: None,
        };
        // Nothing runs between these, so that all but what fits are lost at once.
        (0..QUEUE + 10).for_each(|_| queue.push(build.clone()));
        assert_eq!(queue.lost(), 10);
        while queue.lost() == 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
