//! What is pushed arrives, however the registry wants it.

use std::io::{self, Read};
use std::sync::Arc;

use crate::common::{LOGIN, REPOSITORY, blob, client, client_as, manifest, reference, user};
use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, MediaType};
use kiln_registry_client::{BlobSource, ErrorKind, Pushed};
use kiln_test_support::registry::{Auth, Behaviour, Fault, Registry};

fn source(bytes: &[u8]) -> Arc<dyn BlobSource> {
    Arc::new(Bytes::copy_from_slice(bytes))
}

#[tokio::test]
async fn a_blob_is_sent_once() {
    let registry = Registry::start();
    let (bytes, descriptor) = blob(3_000_000);
    let reference = reference(&registry, "");
    for expected in [Pushed::Uploaded, Pushed::Existed] {
        let pushed = client().push_blob(&reference, &descriptor, source(&bytes), None).await.unwrap();
        assert_eq!(pushed, expected);
    }
    assert_eq!(registry.blob(REPOSITORY, &descriptor.digest).unwrap(), bytes);
    assert_eq!(registry.count("PUT", "/blobs/"), 1);
    assert!(client().blob_exists(&reference, &descriptor).await.unwrap());
    assert!(!client().blob_exists(&reference, &blob(7).1).await.unwrap());
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let registry = Registry::start();
    let descriptor = Descriptor::of(MediaType::OCI_LAYER, b"");
    client().push_blob(&reference(&registry, ""), &descriptor, source(b""), None).await.unwrap();
    assert_eq!(registry.blob(REPOSITORY, &descriptor.digest).unwrap(), "");
}

#[tokio::test]
async fn locations_of_all_kinds_are_followed() {
    let (bytes, descriptor) = blob(100_000);
    let kinds: [fn(&mut Behaviour); 4] = [
        |behaviour| behaviour.relative_locations = true,
        |behaviour| behaviour.locations_with_query = true,
        |behaviour| behaviour.chunked_only = true,
        |behaviour| {
            *behaviour = Behaviour {
                relative_locations: true,
                locations_with_query: true,
                chunked_only: true,
                ..Behaviour::default()
            };
        },
    ];
    for kind in kinds {
        let registry = Registry::start();
        registry.behave(kind);
        registry.require(Auth::anonymous_tokens());
        client().push_blob(&reference(&registry, ""), &descriptor, source(&bytes), None).await.unwrap();
        assert_eq!(registry.blob(REPOSITORY, &descriptor.digest).unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_blob_of_another_repository_is_mounted_where_possible() {
    let (bytes, descriptor) = blob(100_000);
    for auth in [Auth::Open, Auth::anonymous_tokens()] {
        let registry = Registry::start();
        registry.require(auth);
        registry.put_blob("base", bytes.clone());
        let push = |from| {
            let (reference, descriptor, source) =
                (reference(&registry, ""), descriptor.clone(), source(&bytes));
            async move { client().push_blob(&reference, &descriptor, source, from).await.unwrap() }
        };
        assert_eq!(push(Some("base")).await, Pushed::Mounted);
        assert_eq!(registry.count("PUT", "/blobs/"), 0);
        let other = Registry::start();
        other.behave(|behaviour| behaviour.refuse_mounts = true);
        let reference = crate::common::reference(&other, "");
        let pushed = client().push_blob(&reference, &descriptor, source(&bytes), Some("base")).await.unwrap();
        assert_eq!(pushed, Pushed::Uploaded);
        assert_eq!(other.count("POST", "/blobs/uploads/"), 1);
    }
}

#[tokio::test]
async fn a_forbidden_mount_is_an_upload() {
    let registry = Registry::start();
    let (bytes, descriptor) = blob(1000);
    registry.fail("POST", "/blobs/uploads/", Fault::Status(403), 1);
    let pushed = client()
        .push_blob(&reference(&registry, ""), &descriptor, source(&bytes), Some("base"))
        .await
        .unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
}

#[tokio::test]
async fn an_upload_elsewhere_gets_no_credentials() {
    let (registry, elsewhere) = (Registry::start(), Registry::start());
    registry.require(Auth::Basic(LOGIN.to_owned()));
    let (bytes, descriptor) = blob(1000);
    let location = format!("{}/v2/{REPOSITORY}/blobs/uploads/x", elsewhere.origin());
    registry.fail("POST", "/uploads/", Fault::Header("location".to_owned(), location), 1);
    let client = client_as(&registry, user());
    let _ = client.push_blob(&reference(&registry, ""), &descriptor, source(&bytes), None).await;
    assert!(elsewhere.count("PUT", "/uploads/") > 0);
    assert!(elsewhere.requests().iter().all(|request| !request.headers.contains_key("authorization")));
    registry.fail(
        "POST",
        "/uploads/",
        Fault::Header("location".to_owned(), "http://10.0.0.1/".to_owned()),
        1,
    );
    registry.fail("POST", "/uploads/", Fault::Header("location".to_owned(), "file:///x".to_owned()), 1);
}

#[tokio::test]
async fn manifests_are_put_under_tag_or_digest() {
    let registry = Registry::start();
    let (bytes, media_type) = (manifest("a"), MediaType::OCI_MANIFEST.into());
    for tag in [":1", ""] {
        let descriptor = client()
            .push_manifest(&reference(&registry, tag), &media_type, bytes.clone().into())
            .await
            .unwrap();
        assert_eq!(descriptor.digest, Digest::of(&bytes));
    }
    assert_eq!(registry.manifest(REPOSITORY, "1").unwrap(), bytes);
    let told = client().head(&reference(&registry, ":1")).await.unwrap().unwrap();
    assert_eq!(told, Descriptor::of(MediaType::OCI_MANIFEST, &bytes));
    let resolved = client().resolve(&reference(&registry, ":1")).await.unwrap();
    assert_eq!((resolved.bytes, resolved.descriptor.media_type), (bytes.into(), media_type));
}

#[tokio::test]
async fn a_registry_that_stores_something_else_is_caught() {
    let registry = Registry::start();
    let other = Digest::of(b"other").to_string();
    registry.fail("PUT", "/manifests/", Fault::Header("docker-content-digest".to_owned(), other), 1);
    let media_type = MediaType::OCI_MANIFEST.into();
    let error = client()
        .push_manifest(&reference(&registry, ":1"), &media_type, manifest("a").into())
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_source_that_fails_or_lies_is_named() {
    struct Bad(bool);
    impl BlobSource for Bad {
        fn open(&self) -> io::Result<Box<dyn Read + Send>> {
            if self.0 { Err(io::Error::other("the disk is on fire")) } else { Ok(Box::new(io::empty())) }
        }
    }
    let registry = Registry::start();
    for (fails, expected) in [(true, "on fire"), (false, "not 1000 bytes")] {
        let source = Arc::new(Bad(fails));
        let pushed = client().push_blob(&reference(&registry, ""), &blob(1000).1, source, None).await;
        let error = pushed.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Local);
        assert!(std::error::Error::source(&error).unwrap().to_string().contains(expected), "{error:?}");
    }
}

#[tokio::test]
async fn all_pages_of_tags_are_read() {
    let registry = Registry::start();
    for tag in ["a", "b", "c", "d", "e"] {
        registry.put_manifest(REPOSITORY, tag, MediaType::OCI_MANIFEST, manifest(tag));
    }
    registry.behave(|behaviour| behaviour.tags_per_page = Some(2));
    assert_eq!(client().tags(&reference(&registry, "")).await.unwrap(), ["a", "b", "c", "d", "e"]);
    assert_eq!(registry.count("GET", "/tags/list"), 3);
}

#[tokio::test]
async fn a_registry_may_take_its_time_to_store_a_blob() {
    let registry = Registry::start();
    let (bytes, descriptor) = blob(100_000);
    registry.fail("PUT", "/uploads/", Fault::Delay(std::time::Duration::from_millis(1500)), 1);
    client().push_blob(&reference(&registry, ""), &descriptor, source(&bytes), None).await.unwrap();
    assert_eq!(registry.count("PUT", "/uploads/"), 1);
}
