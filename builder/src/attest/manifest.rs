//! The manifests by which statements are attached to an image.
//!
//! As a *referrer* a statement is an artifact of its own whose `subject` is the image's manifest (image-spec 1.1). In an
//! *index* all statements about one image share a manifest, listed for the platform `unknown/unknown`, as BuildKit stores
//! them; the image then is always an index.

use kiln_oci::{Descriptor, Digest, Manifest, MediaType, Platform};

use super::statement::{IN_TOTO, Statement};

/// The artifact type of BuildKit's manifests in an index.
pub const DOCKER_ATTESTATION: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// The annotation that tells a statement's predicate type without reading it.
pub const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// What an entry of an index is to another one.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// Which other one.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// The one kind of entry that is about another one.
const ATTESTATION_MANIFEST: &str = "attestation-manifest";
/// Operating system and architecture of entries that nobody should run.
const UNKNOWN: &str = "unknown";

/// The configuration of what is no image (image-spec, manifest.md).
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");

/// A manifest of statements, with everything that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What points to the manifest.
    pub descriptor: Descriptor,
    /// All documents, the manifest last.
    pub documents: Vec<(Descriptor, Vec<u8>)>,
}

impl Artifact {
    /// A statement that refers to the image behind `subject`.
    pub fn referrer(statement: &Statement, subject: &Descriptor) -> Artifact {
        let predicate = statement.predicate_type.clone();
        let annotations = [(PREDICATE_TYPE.to_owned(), predicate)].into();
        let manifest = Manifest { annotations, ..empty(IN_TOTO, subject) };
        Artifact::of(manifest, std::slice::from_ref(statement))
    }

    /// The statements about the image behind `subject`, for an index that lists both.
    pub fn in_index(statements: &[Statement], subject: &Descriptor) -> Artifact {
        let mut artifact = Artifact::of(empty(DOCKER_ATTESTATION, subject), statements);
        artifact.descriptor.platform = Some(Platform::new(UNKNOWN, UNKNOWN, None));
        artifact.descriptor.annotations = [
            (REFERENCE_TYPE.to_owned(), ATTESTATION_MANIFEST.to_owned()),
            (REFERENCE_DIGEST.to_owned(), subject.digest.to_string()),
        ]
        .into();
        artifact
    }

    /// What `manifest` with its statements was for the image `from`, for what that image has become.
    pub fn moved(
        manifest: &Manifest,
        entry: &Descriptor,
        statements: Vec<Statement>,
        from: &Digest,
        to: &Descriptor,
    ) -> Artifact {
        let statements: Vec<Statement> =
            statements.into_iter().map(|statement| statement.moved(from, &to.digest)).collect();
        match attested(entry) {
            Some(_) => Artifact::in_index(&statements, to),
            None => {
                let subject = manifest.subject.as_ref().map(|_| bare(to));
                Artifact::of(Manifest { subject, layers: Vec::new(), ..manifest.clone() }, &statements)
            }
        }
    }

    fn of(mut manifest: Manifest, statements: &[Statement]) -> Artifact {
        let (media_type, bytes) = EMPTY;
        let mut documents = vec![(Descriptor::of(media_type, bytes), bytes.to_vec())];
        for statement in statements {
            let bytes = statement.to_bytes();
            let mut layer = Descriptor::of(IN_TOTO, &bytes);
            layer.annotations.insert(PREDICATE_TYPE.to_owned(), statement.predicate_type.clone());
            manifest.layers.push(layer.clone());
            documents.push((layer, bytes));
        }
        let bytes = manifest.to_bytes();
        let mut descriptor = Descriptor::of(MediaType::OCI_MANIFEST, &bytes);
        documents.push((descriptor.clone(), bytes));
        descriptor.artifact_type.clone_from(&manifest.artifact_type);
        descriptor.annotations.clone_from(&manifest.annotations);
        Artifact { descriptor, documents }
    }
}

/// The image that an entry of an index is a statement about; `None` where it is none.
pub fn attested(entry: &Descriptor) -> Option<Digest> {
    let annotation = |key: &str| entry.annotations.get(key).map(String::as_str);
    let is_attestation = annotation(REFERENCE_TYPE) == Some(ATTESTATION_MANIFEST);
    annotation(REFERENCE_DIGEST).filter(|_| is_attestation)?.parse().ok()
}

fn empty(artifact_type: &str, subject: &Descriptor) -> Manifest {
    let (media_type, bytes) = EMPTY;
    let manifest = Manifest::new(Descriptor::of(media_type, bytes), Vec::new());
    Manifest { artifact_type: Some(artifact_type.to_owned()), subject: Some(bare(subject)), ..manifest }
}

/// The same content without what an index says of it.
fn bare(descriptor: &Descriptor) -> Descriptor {
    Descriptor::new(descriptor.media_type.clone(), descriptor.digest.clone(), descriptor.size)
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::attest::statement::{PROVENANCE, SPDX, Subject};

    fn image(text: &str) -> Descriptor {
        let mut descriptor = Descriptor::of(MediaType::OCI_MANIFEST, text.as_bytes());
        descriptor.platform = Some(Platform::new("linux", "amd64", None));
        descriptor
    }

    fn statements(image: &Descriptor) -> Vec<Statement> {
        let predicate = RawValue::from_string("{}".to_owned()).unwrap();
        let subject = vec![Subject::new("_", &image.digest)];
        [PROVENANCE, SPDX].map(|kind| Statement::new(kind, predicate.clone(), subject.clone())).into()
    }

    fn manifest_of(artifact: &Artifact) -> Manifest {
        let (descriptor, bytes) = artifact.documents.last().unwrap();
        assert_eq!(descriptor.digest, artifact.descriptor.digest);
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn a_referrer_has_one_statement_and_tells_which() {
        let image = image("a");
        let artifact = Artifact::referrer(&statements(&image)[0], &image);
        let manifest = manifest_of(&artifact);
        assert_eq!(manifest.artifact_type.as_deref(), Some("application/vnd.in-toto+json"));
        assert_eq!(manifest.subject.unwrap(), bare(&image));
        assert_eq!(
            manifest.config.digest.hex(),
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert_eq!(manifest.annotations["in-toto.io/predicate-type"], PROVENANCE);
        assert_eq!((manifest.layers.len(), artifact.documents.len()), (1, 3));
        assert_eq!(artifact.descriptor.annotations, manifest.annotations);
        assert_eq!(attested(&artifact.descriptor), None);
    }

    #[test]
    fn an_index_has_one_entry_of_all_statements() {
        let image = image("a");
        let artifact = Artifact::in_index(&statements(&image), &image);
        assert_eq!(manifest_of(&artifact).layers.len(), 2);
        assert_eq!(artifact.descriptor.platform, Some(Platform::new("unknown", "unknown", None)));
        assert_eq!(attested(&artifact.descriptor), Some(image.digest));
    }

    #[test]
    fn what_moves_is_what_would_have_been_made() {
        let (old, new) = (image("old"), image("new"));
        for made in [
            |image: &Descriptor| Artifact::referrer(&statements(image)[1], image),
            |image: &Descriptor| Artifact::in_index(&statements(image), image),
        ] {
            let before = made(&old);
            let is_statement =
                |(descriptor, _): &&(Descriptor, Vec<u8>)| descriptor.media_type.as_str() == IN_TOTO;
            let layers = before.documents.iter().filter(is_statement);
            let layers = layers.map(|(_, bytes)| Statement::parse(bytes).unwrap()).collect();
            let moved = Artifact::moved(&manifest_of(&before), &before.descriptor, layers, &old.digest, &new);
            assert_eq!(moved, made(&new));
        }
    }
}
