//! Credentials: learned, kept, renewed, and shown to nobody else.

use crate::common::{LOGIN, PASSWORD, REPOSITORY, blob, client, client_as, fetch, manifest, reference, user};
use kiln_oci::MediaType;
use kiln_registry_client::{Credential, ErrorKind};
use kiln_test_support::registry::{Auth, Fault, Registry};

fn filled() -> Registry {
    let registry = Registry::start();
    registry.put_manifest(REPOSITORY, "1", MediaType::OCI_MANIFEST, manifest("a"));
    registry
}

fn tokens(login: Option<&str>) -> Auth {
    Auth::Token { login: login.map(str::to_owned), identity: None, realm: None, uses: usize::MAX }
}

/// Asserts that none of `registry`'s requests carried credentials of any kind.
fn saw_no_secret(registry: &Registry) {
    for request in registry.requests() {
        assert_eq!(request.headers.get("authorization"), None, "{} {}", request.method, request.path);
        assert!(!format!("{request:?}").contains(PASSWORD));
    }
}

#[tokio::test]
async fn anonymous_tokens_are_fetched_once_a_scope() {
    let registry = filled();
    registry.require(Auth::anonymous_tokens());
    let client = client();
    for _ in 0..3 {
        client.resolve(&reference(&registry, ":1")).await.unwrap();
    }
    client.tags(&reference(&registry, "")).await.unwrap();
    assert_eq!(registry.count("GET", "/token"), 1);
    let query = &registry.requests().into_iter().find(|r| r.path == "/token").unwrap().query;
    assert_eq!(query, "service=test&scope=repository%3Ateam%2Fapp%3Apull");
}

#[tokio::test]
async fn passwords_go_to_the_registry_or_to_its_token_server() {
    let registry = filled();
    for auth in [Auth::Basic(LOGIN.to_owned()), tokens(Some(LOGIN))] {
        registry.require(auth);
        let reference = reference(&registry, ":1");
        client_as(&registry, user()).resolve(&reference).await.unwrap();
        let error = client().resolve(&reference).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthorized);
        assert!(error.hint.as_ref().unwrap().contains("kiln login"), "{error:?}");
        let wrong = Credential::Basic { username: "user".to_owned(), password: "wrong-password".to_owned() };
        let error = client_as(&registry, wrong).resolve(&reference).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthorized);
        assert!(!format!("{error:?} {error}").contains("wrong-password"));
    }
}

#[tokio::test]
async fn an_identity_token_is_traded_by_post() {
    let registry = filled();
    let identity = Some("refresh/me+&=".to_owned());
    registry.require(Auth::Token { login: Some("no".to_owned()), identity, realm: None, uses: usize::MAX });
    let credential = Credential::IdentityToken("refresh/me+&=".to_owned());
    client_as(&registry, credential).resolve(&reference(&registry, ":1")).await.unwrap();
    assert_eq!((registry.count("POST", "/token"), registry.count("GET", "/token")), (1, 0));
}

#[tokio::test]
async fn a_token_server_without_post_is_asked_by_get() {
    let registry = filled();
    // `<token>:refresh` in base64.
    registry.require(tokens(Some("PHRva2VuPjpyZWZyZXNo")));
    let credential = Credential::IdentityToken("refresh".to_owned());
    client_as(&registry, credential).resolve(&reference(&registry, ":1")).await.unwrap();
    assert_eq!((registry.count("POST", "/token"), registry.count("GET", "/token")), (1, 1));
}

#[tokio::test]
async fn a_token_that_expires_on_the_way_is_renewed() {
    let registry = filled();
    registry.require(Auth::Token { login: None, identity: None, realm: None, uses: 2 });
    let (bytes, descriptor) = blob(3 << 20);
    registry.put_blob(REPOSITORY, bytes.clone());
    registry.fail("GET", "/blobs/", Fault::Reset(1 << 20), 2);
    let client = client();
    assert_eq!(fetch(&client, &reference(&registry, ""), &descriptor).await.unwrap(), bytes);
    for _ in 0..5 {
        client.resolve(&reference(&registry, ":1")).await.unwrap();
    }
    assert_eq!(registry.count("GET", "/token"), 4);
}

#[tokio::test]
async fn a_busy_token_server_is_asked_again() {
    let registry = filled();
    registry.require(Auth::anonymous_tokens());
    registry.fail("GET", "/token", Fault::Status(503), 3);
    client().resolve(&reference(&registry, ":1")).await.unwrap();
}

#[tokio::test]
async fn redirects_do_not_carry_credentials_elsewhere() {
    let (registry, elsewhere) = (filled(), Registry::start());
    let (bytes, descriptor) = blob(1000);
    registry.put_blob(REPOSITORY, bytes.clone());
    elsewhere.put_blob(REPOSITORY, bytes.clone());
    registry.behave(|behaviour| behaviour.redirect_blobs_to = Some(elsewhere.origin()));
    for auth in [Auth::Basic(LOGIN.to_owned()), tokens(Some(LOGIN))] {
        registry.require(auth);
        let client = client_as(&registry, user());
        assert_eq!(fetch(&client, &reference(&registry, ""), &descriptor).await.unwrap(), bytes);
        for status in [301, 302, 303, 307, 308] {
            let location = format!("{}/v2/{REPOSITORY}/blobs/{}", elsewhere.origin(), descriptor.digest);
            registry.fail("GET", "/blobs/", Fault::Redirect(status, location), 1);
            assert_eq!(fetch(&client, &reference(&registry, ""), &descriptor).await.unwrap(), bytes);
        }
    }
    saw_no_secret(&elsewhere);
}

#[tokio::test]
async fn a_challenge_from_elsewhere_gets_nothing() {
    let (registry, elsewhere) = (filled(), Registry::start());
    let (_, descriptor) = blob(1000);
    registry.put_blob(REPOSITORY, blob(1000).0);
    registry.behave(|behaviour| behaviour.redirect_blobs_to = Some(elsewhere.origin()));
    registry.require(Auth::Basic(LOGIN.to_owned()));
    elsewhere.require(tokens(None));
    let client = client_as(&registry, user());
    let error = fetch(&client, &reference(&registry, ""), &descriptor).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unauthorized);
    assert_eq!(elsewhere.count("GET", "/token"), 0);
    saw_no_secret(&elsewhere);
}

#[tokio::test]
async fn bad_redirects_are_refused() {
    let registry = filled();
    let around = format!("/v2/{REPOSITORY}/manifests/1");
    for location in [around.as_str(), "file:///etc/passwd", "http://169.254.169.254/", "gopher://x/"] {
        registry.fail("GET", "/manifests/", Fault::Redirect(307, location.to_owned()), 11);
        let error = client().resolve(&reference(&registry, ":1")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused, "{location}");
        registry.fail("GET", "/nothing", Fault::Silence, 0);
        while client().resolve(&reference(&registry, ":1")).await.is_err() {}
    }
}

#[tokio::test]
async fn token_servers_are_not_chosen_freely() {
    let registry = filled();
    for realm in
        ["https://evil.example/token", "https://169.254.169.254/token", "file:///etc/passwd", "token", ""]
    {
        let realm = Some(realm.to_owned());
        registry.require(Auth::Token { login: None, identity: None, realm, uses: 1 });
        let error = client_as(&registry, user()).resolve(&reference(&registry, ":1")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    }
}

#[tokio::test]
async fn a_mirror_gets_its_own_credentials_only() {
    let (upstream, mirror) = (filled(), filled());
    mirror.require(Auth::Basic(LOGIN.to_owned()));
    upstream.require(tokens(Some(LOGIN)));
    let table = kiln_registry_client::HostConfig { mirrors: vec![mirror.host()], ..Default::default() };
    let options = kiln_registry_client::ClientOptions {
        config: [(upstream.host(), table)].into(),
        credentials: std::sync::Arc::new(crate::common::For(upstream.host(), user())),
        limits: crate::common::limits(),
        ..Default::default()
    };
    let client = kiln_registry_client::Client::new(options);
    assert_eq!(client.resolve(&reference(&upstream, ":1")).await.unwrap().host, upstream.host());
    assert_eq!(mirror.count("GET", "/manifests/1"), 1);
    saw_no_secret(&mirror);
}

#[tokio::test]
async fn login_tells_right_from_wrong() {
    let registry = filled();
    for auth in [Auth::Basic(LOGIN.to_owned()), tokens(Some(LOGIN))] {
        registry.require(auth);
        client().login(&registry.host(), &user()).await.unwrap();
        let wrong = Credential::Basic { username: "user".to_owned(), password: "x".to_owned() };
        let error = client().login(&registry.host(), &wrong).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthorized);
    }
}

#[tokio::test]
async fn plain_http_is_never_a_fallback() {
    let registry = filled();
    let table = kiln_registry_client::HostConfig { http: Some(false), ..Default::default() };
    let options = kiln_registry_client::ClientOptions {
        config: [(registry.host(), table)].into(),
        credentials: std::sync::Arc::new(crate::common::For(registry.host(), user())),
        limits: crate::common::limits(),
        ..Default::default()
    };
    let client = kiln_registry_client::Client::new(options);
    assert!(client.resolve(&reference(&registry, ":1")).await.is_err());
    assert_eq!(registry.requests(), []);
}

#[tokio::test]
async fn no_secret_is_in_an_error() {
    let (registry, elsewhere) = (filled(), Registry::start());
    let signed = format!("{}/blob?X-Signature=hunter2&token=hunter2", elsewhere.origin());
    for fault in
        [Fault::Status(403), Fault::Reset(0), Fault::Redirect(307, "ftp://me:hunter2@x/?hunter2".to_owned())]
    {
        elsewhere.fail("GET", "/blob", fault, usize::MAX);
        registry.fail("GET", "/manifests/", Fault::Redirect(307, signed.clone()), 1);
        let mut limits = crate::common::limits();
        limits.budget = std::time::Duration::from_millis(100);
        let options = kiln_registry_client::ClientOptions { limits, ..Default::default() };
        let error = kiln_registry_client::Client::new(options)
            .resolve(&reference(&registry, ":1"))
            .await
            .unwrap_err();
        let mut text = format!("{error:?} {error}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text} {cause} {cause:?}");
            source = cause.source();
        }
        assert!(!text.contains("hunter2"), "{text}");
    }
}
