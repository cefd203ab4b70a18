//! What refers to a manifest is listed, whether the registry knows of such things or not.

use kiln_oci::{Descriptor, Digest, Manifest, MediaType, Reference};
use kiln_registry_client::Listed;
use kiln_test_support::registry::{Auth, Fault, Registry};

use crate::common::{REPOSITORY, client, manifest, reference};

const KIND: &str = "application/vnd.example.statement";

/// A manifest that refers to `subject`, and how it is listed.
fn artifact(subject: &Descriptor, kind: &str, text: &str) -> (Descriptor, Vec<u8>) {
    let config = Descriptor::of("application/vnd.oci.empty.v1+json", b"{}");
    let manifest = Manifest {
        artifact_type: Some(kind.to_owned()),
        subject: Some(subject.clone()),
        annotations: [("text".to_owned(), text.to_owned())].into(),
        ..Manifest::new(config, Vec::new())
    };
    let bytes = manifest.to_bytes();
    let mut descriptor = Descriptor::of(MediaType::OCI_MANIFEST, &bytes);
    descriptor.artifact_type = manifest.artifact_type;
    descriptor.annotations = manifest.annotations;
    (descriptor, bytes)
}

fn image() -> Descriptor {
    Descriptor::of(MediaType::OCI_MANIFEST, &manifest("image"))
}

async fn push(reference: &Reference, subject: &Digest, artifact: &(Descriptor, Vec<u8>)) -> Listed {
    let (descriptor, bytes) = artifact.clone();
    client().push_referrer(reference, subject, &descriptor, bytes.into()).await.unwrap()
}

fn sorted(mut all: Vec<Descriptor>) -> Vec<Descriptor> {
    all.sort_by(|a, b| a.digest.cmp(&b.digest));
    all
}

#[tokio::test]
async fn both_kinds_of_registry_list_what_was_pushed() {
    for (pages, expected) in [(Some(2), Listed::ByRegistry), (None, Listed::ByTag)] {
        let registry = Registry::start();
        registry.behave(|behaviour| behaviour.referrers_per_page = pages);
        registry.require(Auth::anonymous_tokens());
        let (reference, image) = (reference(&registry, ":1"), image());
        assert_eq!(client().referrers(&reference, &image.digest, None).await.unwrap(), []);
        let all: Vec<_> = (0..5).map(|n| artifact(&image, KIND, &n.to_string())).collect();
        let other = artifact(&image, "other", "x");
        for artifact in all.iter().chain([&other, &all[0]]) {
            assert_eq!(push(&reference, &image.digest, artifact).await, expected);
        }
        let of = |kind| {
            let (reference, digest) = (reference.clone(), image.digest.clone());
            async move { sorted(client().referrers(&reference, &digest, kind).await.unwrap()) }
        };
        let everything = all.iter().chain([&other]).map(|(descriptor, _)| descriptor.clone()).collect();
        assert_eq!(of(None).await, sorted(everything));
        assert_eq!(of(Some("other")).await, [other.0]);
        let tag = format!("sha256-{}", image.digest.hex());
        assert_eq!(registry.manifest(REPOSITORY, &tag).is_some(), expected == Listed::ByTag);
        let unknown = Digest::of(b"unknown");
        assert_eq!(client().referrers(&reference, &unknown, None).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_registry_in_trouble_is_asked_once() {
    let registry = Registry::start();
    registry.fail("GET", "/referrers/", Fault::Status(503), 100);
    let found = client().referrers(&reference(&registry, ""), &image().digest, None).await;
    assert!(found.is_err());
    assert_eq!(registry.count("GET", "/referrers/"), 1);
}
