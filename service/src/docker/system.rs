//! The daemon as a whole: `_ping`, `version`, `info`, `auth`, `system/df`, `events`.

mod df;
mod info;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use kiln_engine::oci::Platform;

use super::auth::{AuthConfig, host_of};
use super::body::Json;
use super::model::Map;
use super::model::system::{Component, LoggedIn, Named, Version};
use super::{Answer, Daemon, Failure, events, json, version};

/// What kiln says it is.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn routes() -> Router<Daemon> {
    Router::new()
        .route("/_ping", get(ping))
        .route("/version", get(version_))
        .route("/info", get(info::info))
        .route("/auth", post(auth))
        .route("/events", get(events::events))
        .route("/system/df", get(df::df))
}

/// `GET /_ping` and `HEAD /_ping`
async fn ping() -> impl IntoResponse {
    let headers = [
        // BuildKit's builds are what clients should ask for.
        (HeaderName::from_static("builder-version"), "2"),
        (HeaderName::from_static("swarm"), "inactive"),
        (header::CACHE_CONTROL, "no-cache, no-store, must-revalidate"),
        (header::PRAGMA, "no-cache"),
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
    ];
    (headers, "OK")
}

/// `GET /version`
async fn version_() -> Answer {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let arch = Platform::host().architecture;
    let details = [
        ("ApiVersion", version::NEWEST.to_string()),
        ("MinAPIVersion", version::OLDEST.to_string()),
        ("Arch", arch.clone()),
        ("Os", "linux".to_owned()),
        ("KernelVersion", kernel.clone()),
    ];
    let details: Map = details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let answer = Version {
        platform: Named { name: "kiln".to_owned() },
        components: vec![Component { name: "Engine", version: VERSION, details }],
        version: VERSION,
        api_version: version::NEWEST.to_string(),
        min_api_version: version::OLDEST.to_string(),
        git_commit: "",
        go_version: "",
        os: "linux",
        arch,
        kernel_version: kernel,
        experimental: false,
        build_time: "",
    };
    Ok(json(StatusCode::OK, &answer))
}

/// `POST /auth`: whether a registry takes a credential.
async fn auth(State(daemon): State<Daemon>, body: Json<AuthConfig>) -> Answer {
    let given = body.required()?;
    let host = host_of(&given.serveraddress);
    let Some(credential) = given.credential() else {
        return Err(Failure::bad_request("there is no user name or token to log in with"));
    };
    daemon.engine.images().login(&host, &credential).await?;
    Ok(json(StatusCode::OK, &LoggedIn { status: "Login Succeeded", identity_token: "" }))
}
