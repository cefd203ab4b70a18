//! The registry fault matrix: what a registry or the way to it does wrong, and what the client makes of it.

use std::time::{Duration, Instant};

use crate::common::{REPOSITORY, blob, client, fetch, manifest, mirrored, reference};
use futures_util::StreamExt;
use kiln_oci::{Descriptor, Digest, MediaType};
use kiln_registry_client::{ErrorKind, Pushed};
use kiln_test_support::registry::{Fault, Registry};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_busy_registry_is_asked_again_when_it_wants() {
    let registry = Registry::start();
    registry.put_manifest(REPOSITORY, "1", MediaType::OCI_MANIFEST, manifest("a"));
    registry.fail("GET", "/manifests/", Fault::RetryAfter(429, 1), 2);
    let started = Instant::now();
    client().resolve(&reference(&registry, ":1")).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(2), "`Retry-After` was ignored");
    assert_eq!(registry.count("GET", "/manifests/"), 3);
}

#[tokio::test]
async fn server_errors_are_tried_again_for_manifests_and_blobs() {
    let registry = Registry::start();
    let (bytes, descriptor) = blob(3000);
    registry.put_blob(REPOSITORY, bytes.clone());
    registry.put_manifest(REPOSITORY, "1", MediaType::OCI_MANIFEST, manifest("a"));
    for status in [500, 502, 503, 504, 408] {
        registry.fail("GET", "/manifests/", Fault::Status(status), 2);
        client().resolve(&reference(&registry, ":1")).await.unwrap();
        registry.fail("GET", "/blobs/", Fault::Status(status), 4);
        assert_eq!(fetch(&client(), &reference(&registry, ""), &descriptor).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_registry_that_stays_down_is_given_up() {
    let registry = Registry::start();
    registry.fail("GET", "/manifests/", Fault::Status(503), usize::MAX);
    let mut limits = crate::common::limits();
    limits.budget = Duration::from_millis(200);
    let options = kiln_registry_client::ClientOptions { limits, ..Default::default() };
    let error =
        kiln_registry_client::Client::new(options).resolve(&reference(&registry, ":1")).await.unwrap_err();
    assert_eq!((error.kind, error.status), (ErrorKind::Unavailable, Some(503)));
    registry.fail("GET", "/tags/", Fault::RetryAfter(429, 999_999), usize::MAX);
    let started = Instant::now();
    assert!(client().tags(&reference(&registry, "")).await.is_err());
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_wrong_port_is_soon_known_to_be_wrong() {
    let host = Registry::start().host();
    let started = Instant::now();
    let error = client().resolve(&format!("{host}/a").parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.to_string().contains("cannot connect"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_broken_connection_is_resumed_where_it_broke() {
    let registry = Registry::start();
    let (bytes, descriptor) = blob(3 * MIB);
    registry.put_blob(REPOSITORY, bytes.clone());
    registry.fail("GET", "/blobs/", Fault::Reset(300 << 10), 8);
    assert_eq!(fetch(&client(), &reference(&registry, ""), &descriptor).await.unwrap(), bytes);
    let ranges: Vec<_> = registry.requests().iter().filter_map(|r| r.headers.get("range").cloned()).collect();
    assert_eq!(ranges.len(), 8);
    assert_ne!(ranges[0], ranges[7], "no progress between resumptions");
}

#[tokio::test]
async fn a_registry_that_ignores_ranges_is_read_from_the_start() {
    let registry = Registry::start();
    registry.behave(|behaviour| behaviour.ignore_ranges = true);
    let (bytes, descriptor) = blob(2 * MIB);
    registry.put_blob(REPOSITORY, bytes.clone());
    registry.fail("GET", "/blobs/", Fault::Reset(MIB), 2);
    assert_eq!(fetch(&client(), &reference(&registry, ""), &descriptor).await.unwrap(), bytes);
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_right_ones_taken_the_next_time() {
    let registry = Registry::start();
    let (bytes, descriptor) = blob(100_000);
    registry.put_blob(REPOSITORY, bytes.clone());
    let (client, reference) = (client(), reference(&registry, ""));
    registry.fail("GET", "/blobs/", Fault::WrongBytes, 1);
    assert_eq!(fetch(&client, &reference, &descriptor).await.unwrap_err().kind, ErrorKind::Corrupt);
    registry.fail("GET", "/blobs/", Fault::WrongBytes, 1);
    assert_eq!(client.blob_bytes(&reference, &descriptor, 1 << 20).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_wrong_length_is_refused_before_a_byte_is_used() {
    let registry = Registry::start();
    let (bytes, descriptor) = blob(100_000);
    registry.put_blob(REPOSITORY, bytes.clone());
    for fault in [Fault::Short(99_999), Fault::Short(0), Fault::Long(5)] {
        registry.fail("GET", "/blobs/", fault, 1);
        let error = client().blob(&reference(&registry, ""), &descriptor).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt);
    }
    for size in [0, 99_999, 100_005, 1 << 62, u64::MAX] {
        let lie = Descriptor { size, ..descriptor.clone() };
        let error = client().blob(&reference(&registry, ""), &lie).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "size {size}");
    }
}

#[tokio::test]
async fn silence_and_trickles_are_errors_in_time() {
    let registry = Registry::start();
    let (bytes, descriptor) = blob(100_000);
    registry.put_blob(REPOSITORY, bytes);
    for fault in [Fault::Silence, Fault::Slow(1, Duration::from_millis(20))] {
        registry.fail("GET", "/blobs/", fault.clone(), usize::MAX);
        let started = Instant::now();
        let error = fetch(&client(), &reference(&registry, ""), &descriptor).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{fault:?}");
        assert!(error.to_string().contains("nothing for"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(2), "{fault:?} took {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn one_silent_connection_is_replaced() {
    let registry = Registry::start();
    let (bytes, descriptor) = blob(100_000);
    registry.put_blob(REPOSITORY, bytes.clone());
    registry.fail("GET", "/blobs/", Fault::Silence, 1);
    assert_eq!(fetch(&client(), &reference(&registry, ""), &descriptor).await.unwrap(), bytes);
}

#[tokio::test]
async fn documents_that_lie_are_refused() {
    let registry = Registry::start();
    let reference = |tag: &str| reference(&registry, tag);
    let both = br#"{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}"#;
    registry.put_manifest(REPOSITORY, "both", MediaType::OCI_MANIFEST, &both[..]);
    registry.put_manifest(REPOSITORY, "typed", MediaType::OCI_INDEX, manifest("a"));
    registry.put_manifest(REPOSITORY, "long", MediaType::OCI_MANIFEST, vec![b' '; 6 * MIB]);
    registry.put_manifest(REPOSITORY, "deep", MediaType::OCI_MANIFEST, "[".repeat(200_000));
    for tag in [":both", ":typed", ":long", ":deep"] {
        let error = client().resolve(&reference(tag)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{tag}");
    }
    registry.put_manifest(REPOSITORY, "good", MediaType::OCI_MANIFEST, manifest("a"));
    for (header, kind) in [
        (Digest::of(b"other").to_string(), ErrorKind::Corrupt),
        ("sha256:../../etc/passwd".to_owned(), ErrorKind::Invalid),
    ] {
        registry.fail("GET", "/manifests/", Fault::Header("docker-content-digest".to_owned(), header), 1);
        assert_eq!(client().resolve(&reference(":good")).await.unwrap_err().kind, kind);
    }
    registry.fail("GET", "/manifests/", Fault::WrongBytes, 1);
    assert!(client().resolve(&reference(":good")).await.is_err());
    let pinned = reference(":good").with_digest(Digest::of(&manifest("a")));
    assert_eq!(client().resolve(&pinned).await.unwrap().descriptor.digest, Digest::of(&manifest("a")));
}

#[tokio::test]
async fn compressed_transport_is_not_undone() {
    let registry = Registry::start();
    let (bytes, descriptor) = blob(5000);
    registry.put_blob(REPOSITORY, bytes.clone());
    registry.fail("GET", "/blobs/", Fault::Header("content-encoding".to_owned(), "gzip".to_owned()), 1);
    assert_eq!(fetch(&client(), &reference(&registry, ""), &descriptor).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_its_failures_are_not_ours() {
    let (upstream, mirror, other) = (Registry::start(), Registry::start(), Registry::start());
    let client = mirrored(&upstream, &[&mirror, &other]);
    let (bytes, descriptor) = blob(2 * MIB);
    let reference = reference(&upstream, ":1");
    for registry in [&upstream, &mirror] {
        registry.put_blob(REPOSITORY, bytes.clone());
        registry.put_manifest(REPOSITORY, "1", MediaType::OCI_MANIFEST, manifest("a"));
    }
    assert_eq!(client.resolve(&reference).await.unwrap().host, mirror.host());
    assert_eq!(fetch(&client, &reference, &descriptor).await.unwrap(), bytes);
    assert_eq!(upstream.requests(), []);

    for fault in [Fault::Status(404), Fault::Status(500), Fault::Silence, Fault::Status(401)] {
        mirror.fail("GET", "/", fault.clone(), 1);
        assert_eq!(client.resolve(&reference).await.unwrap().host, upstream.host(), "{fault:?}");
        mirror.fail("GET", "/", fault, 1);
        assert_eq!(fetch(&client, &reference, &descriptor).await.unwrap(), bytes);
    }
    // One that breaks half way is gone on from elsewhere.
    mirror.fail("GET", "/blobs/", Fault::Reset(MIB), 1);
    assert_eq!(fetch(&client, &reference, &descriptor).await.unwrap(), bytes);
    let pinned = reference.with_digest(Digest::of(&manifest("a")));
    mirror.fail("GET", "/manifests/", Fault::WrongBytes, 1);
    assert_eq!(client.resolve(&pinned).await.unwrap().host, upstream.host());
}

#[tokio::test]
async fn a_mirror_that_lied_is_not_asked_for_that_blob_again() {
    let (upstream, mirror) = (Registry::start(), Registry::start());
    let (bytes, descriptor) = blob(100_000);
    upstream.put_blob(REPOSITORY, bytes.clone());
    mirror.put_blob_as(REPOSITORY, &descriptor.digest, vec![0; 100_000]);
    let (client, reference) = (mirrored(&upstream, &[&mirror]), reference(&upstream, ""));
    assert_eq!(fetch(&client, &reference, &descriptor).await.unwrap_err().kind, ErrorKind::Corrupt);
    assert_eq!(fetch(&client, &reference, &descriptor).await.unwrap(), bytes);
    assert_eq!(mirror.count("GET", "/blobs/"), 1);
}

#[tokio::test]
async fn whoever_hashes_alone_says_who_lied() {
    let (upstream, mirror) = (Registry::start(), Registry::start());
    let (bytes, descriptor) = blob(100_000);
    upstream.put_blob(REPOSITORY, bytes.clone());
    mirror.put_blob_as(REPOSITORY, &descriptor.digest, vec![0; 100_000]);
    let (client, reference) = (mirrored(&upstream, &[&mirror]), reference(&upstream, ""));
    let first = client.blob_unhashed(&reference, &descriptor).await.unwrap();
    assert_eq!(first.map(|chunk| chunk.unwrap().len()).fold(0, |a, b| async move { a + b }).await, 100_000);
    client.distrust_mirrors(&reference, &descriptor).unwrap();
    assert_eq!(fetch(&client, &reference, &descriptor).await.unwrap(), bytes);
}

#[tokio::test]
async fn an_upload_that_breaks_is_gone_on_with_in_chunks() {
    let registry = Registry::start();
    let (bytes, descriptor) = blob(20 * MIB);
    let source = std::sync::Arc::new(bytes::Bytes::from(bytes.clone()));
    registry.fail("PUT", "/blobs/uploads/", Fault::Status(503), 1);
    registry.fail("PATCH", "/blobs/uploads/", Fault::Status(502), 1);
    let pushed = client().push_blob(&reference(&registry, ""), &descriptor, source, None).await.unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
    assert_eq!(registry.blob(REPOSITORY, &descriptor.digest).unwrap(), bytes);
    assert!(registry.count("PATCH", "/blobs/uploads/") >= 2);
}

#[tokio::test]
async fn endless_pages_of_tags_end() {
    let registry = Registry::start();
    registry.put_manifest(REPOSITORY, "1", MediaType::OCI_MANIFEST, manifest("a"));
    let next = format!("</v2/{REPOSITORY}/tags/list?n=1>; rel=\"next\"");
    registry.fail("GET", "/tags/list", Fault::Header("link".to_owned(), next), usize::MAX);
    let error = client().tags(&reference(&registry, "")).await.unwrap_err();
    assert!(error.to_string().contains("pages"), "{error}");
}

#[tokio::test]
async fn a_mirror_that_is_down_is_not_waited_for_again() {
    let (upstream, mirror) = (Registry::start(), Registry::start());
    upstream.put_manifest(REPOSITORY, "1", MediaType::OCI_MANIFEST, manifest("a"));
    let client = mirrored(&upstream, &[&mirror]);
    drop(mirror);
    for _ in 0..3 {
        let resolved = client.resolve(&reference(&upstream, ":1")).await.unwrap();
        assert_eq!(resolved.host, upstream.host());
    }
}
