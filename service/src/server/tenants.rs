//! Who sees what: a daemon of its own, on a state root of its own, for each peer that must not see what others have.
//!
//! Root and the daemon's own user have the engine's root; every other user, and every holder of a certificate, one beneath
//! it. Images, layers, the build cache and its directories, received folders, containers, sessions and history are apart by
//! that alone: there is no place where somebody could forget to ask whose they are.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use kiln_engine::config::RegistryConfig;
use kiln_engine::{CancellationToken, Engine};
use tokio::sync::OnceCell;

use super::peer::{Peer, Who};
use crate::buildkit;
use crate::docker::{self, Daemon, Failure};

/// How long ago is lately.
const LATELY: Duration = Duration::from_secs(120);
/// Roots that are open at one time beside the engine's own.
const MAX_TENANTS: usize = 64;

/// Whose things are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tenant {
    /// Those of whoever runs the daemon, who can read all others' too.
    Host,
    /// Those of a user.
    User(u32),
    /// Those of the holder of a certificate.
    Holder(u128),
}

/// All daemons of one process.
#[derive(Clone)]
pub(super) struct Tenants(Arc<Inner>);

struct Inner {
    host: Served,
    options: buildkit::Options,
    stop: CancellationToken,
    /// Whether all have the engine's own root.
    shared: bool,
    others: Mutex<HashMap<Tenant, Arc<OnceCell<Served>>>>,
    /// When somebody last asked for something.
    asked: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Served {
    daemon: Daemon,
    routes: Router,
}

impl Served {
    fn new(engine: Engine, options: buildkit::Options, stop: CancellationToken) -> Served {
        let daemon = Daemon::new(engine, options, stop);
        Served { routes: docker::routes(daemon.clone()), daemon }
    }
}

impl Tenant {
    /// Whose things a peer has.
    pub(super) fn of(peer: &Peer) -> Tenant {
        Tenant::whose(peer.who())
    }

    /// Whose things somebody has.
    pub(super) fn whose(who: Who) -> Tenant {
        let own = rustix::process::geteuid().as_raw();
        match who {
            Who::Process { uid, .. } if uid == 0 || uid == own => Tenant::Host,
            Who::Process { uid, .. } => Tenant::User(uid),
            Who::Certificate { holder, .. } => Tenant::Holder(holder),
        }
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tenant::Host => f.write_str("host"),
            Tenant::User(uid) => write!(f, "uid-{uid}"),
            Tenant::Holder(holder) => write!(f, "cert-{holder:032x}"),
        }
    }
}

impl Tenants {
    /// A daemon on `engine`, and those that come to be beside it.
    pub(super) fn new(
        engine: Engine,
        options: buildkit::Options,
        stop: CancellationToken,
        shared: bool,
    ) -> Tenants {
        let host = Served::new(engine, options.clone(), stop.child_token());
        Tenants(Arc::new(Inner {
            host,
            options,
            stop,
            shared,
            others: Mutex::default(),
            asked: Mutex::default(),
        }))
    }

    /// The routes of a peer's daemon, which is begun where there is none.
    pub(super) async fn routes(&self, peer: &Peer) -> Result<Router, Failure> {
        let Inner { host, shared, asked, .. } = &*self.0;
        *asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        match Tenant::of(peer) {
            _ if *shared => Ok(host.routes.clone()),
            Tenant::Host => Ok(host.routes.clone()),
            tenant => Ok(self.other(tenant)?.get_or_try_init(|| self.begin(tenant)).await?.routes.clone()),
        }
    }

    /// Whether somebody asked for something lately; what was begun then may be over by now.
    pub(super) fn were_asked(&self) -> bool {
        let asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|asked| asked.elapsed() < LATELY)
    }

    fn other(&self, tenant: Tenant) -> Result<Arc<OnceCell<Served>>, Failure> {
        let mut others = self.0.others.lock().unwrap_or_else(PoisonError::into_inner);
        if others.len() >= MAX_TENANTS && !others.contains_key(&tenant) {
            let why = format!("{MAX_TENANTS} users have things here already");
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, why));
        }
        Ok(others.entry(tenant).or_default().clone())
    }

    async fn begin(&self, tenant: Tenant) -> Result<Served, Failure> {
        let Inner { host, options, stop, .. } = &*self.0;
        let (engine, name) = (host.daemon.engine.clone(), tenant.to_string());
        let engine = docker::blocking(move || engine.beneath(&name)).await?;
        tracing::info!(%tenant, root = %engine.config().root.display(), "begins to serve");
        Ok(Served::new(engine, options.clone(), stop.child_token()))
    }

    /// Waits until nothing is done any more.
    pub(super) async fn ended(&self) {
        let all = self.daemons();
        futures_util::future::join_all(all.iter().map(Daemon::ended)).await;
    }

    /// How many builds run.
    pub(super) fn builds(&self) -> usize {
        self.daemons().iter().map(|daemon| daemon.builds()).sum()
    }

    /// How many sessions of BuildKit are open.
    pub(super) fn sessions(&self) -> usize {
        self.daemons().iter().map(|daemon| daemon.buildkit.sessions()).sum()
    }

    /// Reaches registries as it is said here from now on, for everybody.
    pub(super) fn reconfigure(&self, registries: &RegistryConfig) {
        self.daemons().iter().for_each(|daemon| daemon.engine.reconfigure(registries.clone()));
    }

    /// All that have begun.
    pub(super) fn daemons(&self) -> Vec<Daemon> {
        let others = self.0.others.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = others.values().filter_map(|cell| cell.get());
        begun.chain([&self.0.host]).map(|served| served.daemon.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use kiln_engine::Config;
    use tokio::sync::Semaphore;
    use tower::ServiceExt as _;

    use super::*;

    fn peer(who: Who) -> Peer {
        let share = super::super::shares::Shares::default().take(Tenant::whose(who), 1).unwrap();
        Peer::new(who, Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(), share)
    }

    fn user(uid: u32) -> Peer {
        peer(Who::Process { uid, gid: 0, pid: None })
    }

    fn holder(holder: u128) -> Peer {
        peer(Who::Certificate { address: ([127, 0, 0, 1], 1).into(), holder })
    }

    async fn ask(tenants: &Tenants, peer: &Peer, method: &str, path: &str, body: &'static str) -> String {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let routes = tenants.routes(peer).await.unwrap();
        let answer = routes.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
        String::from_utf8(to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
    }

    fn tenants(dir: &tempfile::TempDir, shared: bool) -> Tenants {
        let engine = Engine::open(Config::new(dir.path().join("state"))).unwrap();
        Tenants::new(engine, buildkit::Options::default(), CancellationToken::new(), shared)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_sees_what_another_has_unless_all_is_shared() {
        let all = || [user(0), user(1001), user(1002), holder(7), holder(8)];
        for shared in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let tenants = tenants(&dir, shared);
            for one in &all() {
                ask(&tenants, one, "POST", "/volumes/create", r#"{"Name":"mine"}"#).await;
                let listed = ask(&tenants, one, "GET", "/volumes", "").await;
                assert_eq!(listed.matches(r#""Name":"mine""#).count(), 1);
                ask(&tenants, one, "DELETE", "/volumes/mine", "").await;
            }
            ask(&tenants, &user(1001), "POST", "/volumes/create", r#"{"Name":"kept"}"#).await;
            for other in &all() {
                let sees = ask(&tenants, other, "GET", "/volumes", "").await.contains("kept");
                assert_eq!(sees, shared || other.who() == user(1001).who(), "{other}");
            }
            assert_eq!(dir.path().join("state/peers/uid-1001").exists(), !shared);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn there_are_only_so_many() {
        let dir = tempfile::tempdir().unwrap();
        let tenants = tenants(&dir, false);
        for number in 0..MAX_TENANTS as u128 {
            tenants.other(Tenant::Holder(number)).unwrap();
        }
        assert_eq!(
            tenants.routes(&holder(1 << 100)).await.err().map(|failure| failure.status.as_u16()),
            Some(503)
        );
        assert!(tenants.routes(&holder(3)).await.is_ok());
        assert!(tenants.routes(&user(0)).await.is_ok());
    }
}
