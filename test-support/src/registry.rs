//! A registry in this process, on loopback, that fails on demand and remembers what it was asked.

mod answer;
mod auth;
mod fault;
mod handler;
mod upload;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kiln_oci::Digest;
use tokio::sync::oneshot;

pub use auth::Auth;
pub use fault::Fault;

/// A registry that listens on a free port of 127.0.0.1 until it is dropped.
///
/// It runs on a thread of its own, so that blocking tests can use it too.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One request that the registry got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The query, without the question mark.
    pub query: String,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
}

/// How the registry behaves where the protocol leaves a choice.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Answers a mount with `202 Accepted`: upload it yourself.
    pub refuse_mounts: bool,
    /// Gives upload locations without scheme and host.
    pub relative_locations: bool,
    /// Gives upload locations with a query.
    pub locations_with_query: bool,
    /// Accepts no body in the request that ends an upload, as some registries do.
    pub chunked_only: bool,
    /// Lists at most so many tags a page.
    pub tags_per_page: Option<usize>,
    /// Sends blob requests to this origin, for example `http://127.0.0.1:1234`.
    pub redirect_blobs_to: Option<String>,
    /// Answers with the whole blob where a range is asked for.
    pub ignore_ranges: bool,
    /// Lists referrers itself, so many a page.
    pub referrers_per_page: Option<usize>,
}

#[derive(Debug, Default)]
struct State {
    origin: String,
    behaviour: Behaviour,
    auth: Auth,
    tokens: HashMap<String, auth::Token>,
    blobs: HashMap<(String, Digest), Bytes>,
    manifests: HashMap<(String, String), Stored>,
    uploads: HashMap<String, Vec<u8>>,
    faults: Vec<fault::Rule>,
    requests: Vec<Request>,
}

/// A manifest with the media type that it was put with.
#[derive(Debug, Clone)]
struct Stored {
    media_type: String,
    bytes: Bytes,
}

impl Registry {
    /// A registry without content, open to everybody.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a loopback port");
        let address = listener.local_addr().expect("the bound address");
        let state = State { origin: format!("http://{address}"), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || serve(listener, &shared, stopped));
        Registry { address, state, stop: Some(stop), thread: Some(thread) }
    }

    /// The host as references name it, `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes how it behaves.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.lock().behaviour);
    }

    /// From now on asks for credentials so.
    pub fn require(&self, auth: Auth) {
        self.lock().auth = auth;
    }

    /// Stores a blob.
    pub fn put_blob(&self, repository: &str, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        self.put_blob_as(repository, &digest, bytes);
        digest
    }

    /// Stores bytes under a digest that may be another's.
    pub fn put_blob_as(&self, repository: &str, digest: &Digest, bytes: impl Into<Bytes>) {
        self.lock().blobs.insert((repository.to_owned(), digest.clone()), bytes.into());
    }

    /// Stores a manifest under its digest and under `tag`.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        self.lock().put_manifest(repository, tag, media_type, bytes);
        digest
    }

    /// A blob's bytes, where the repository has it.
    pub fn blob(&self, repository: &str, digest: &Digest) -> Option<Bytes> {
        self.lock().blobs.get(&(repository.to_owned(), digest.clone())).cloned()
    }

    /// The bytes of the manifest under a tag or digest.
    pub fn manifest(&self, repository: &str, target: &str) -> Option<Bytes> {
        self.lock()
            .manifests
            .get(&(repository.to_owned(), target.to_owned()))
            .map(|stored| stored.bytes.clone())
    }

    /// Fails the next `times` requests with this method whose path contains `path`.
    pub fn fail(&self, method: &str, path: &str, fault: Fault, times: usize) {
        self.lock().faults.push(fault::Rule {
            method: method.to_owned(),
            path: path.to_owned(),
            fault,
            times,
        });
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// How many requests with this method had `path` in their path.
    pub fn count(&self, method: &str, path: &str) -> usize {
        self.requests()
            .iter()
            .filter(|request| request.method == method && request.path.contains(path))
            .count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has failed the test already.
            let _ = thread.join();
        }
    }
}

impl State {
    fn put_manifest(&mut self, repository: &str, target: &str, media_type: &str, bytes: Bytes) {
        let stored = Stored { media_type: media_type.to_owned(), bytes };
        let digest = Digest::of(&stored.bytes).to_string();
        self.manifests.insert((repository.to_owned(), digest), stored.clone());
        self.manifests.insert((repository.to_owned(), target.to_owned()), stored);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no thread panicked with the registry's state")
}

/// Serves until `stopped`; the runtime's end closes all connections.
fn serve(listener: TcpListener, state: &Arc<Mutex<State>>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        listener.set_nonblocking(true).expect("a non-blocking socket");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a tokio socket");
        tokio::select! {
            () = accept(listener, state) => {}
            _ = stopped => {}
        }
    });
}

async fn accept(listener: tokio::net::TcpListener, state: &Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(state);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(handler::handle(&state, request).await) }
            });
            // A client that goes away, or a fault that cuts the connection, is no concern of the server's.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
