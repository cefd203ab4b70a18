//! Hangs statements on the manifest of an image.

use kiln_cache::{Lease, Resource, Store};
use kiln_oci::{Descriptor, Platform, Reference};

use super::manifest::Artifact;
use super::statement::{Statement, Subject};
use super::{Attestation, Form};
use crate::error::Cause;

/// Hangs statements on the images of one export.
#[derive(Debug)]
pub(crate) struct Attacher<'a> {
    /// Where documents are stored.
    store: &'a Store,
    /// What holds them.
    lease: &'a Lease,
    /// What the image is called.
    names: &'a [Reference],
    /// How statements hang on it.
    form: Form,
    /// The entries of the index, so far.
    pub(crate) entries: Vec<Descriptor>,
}

impl<'a> Attacher<'a> {
    /// Hangs statements on what is called `names`, in a form.
    pub(crate) fn new(store: &'a Store, lease: &'a Lease, names: &'a [Reference], form: Form) -> Self {
        Attacher { store, lease, names, form, entries: Vec::new() }
    }

    /// Says about the image behind `manifest` what there is to say.
    pub(crate) fn add(
        &mut self,
        attestations: &[Attestation],
        platform: &Platform,
        manifest: &Descriptor,
    ) -> Result<(), Cause> {
        if attestations.is_empty() {
            return Ok(());
        }
        let subject = Subject::of_image(self.names, platform, &manifest.digest);
        let statement =
            |it: &Attestation| Statement::new(it.predicate_type, it.predicate.clone(), subject.clone());
        let statements: Vec<Statement> = attestations.iter().map(statement).collect();
        match self.form {
            Form::Referrers => self.refer(&statements, manifest),
            Form::Index => {
                let artifact = Artifact::in_index(&statements, manifest);
                put(self.store, self.lease, &artifact)?;
                self.entries.push(artifact.descriptor);
                Ok(())
            }
        }
    }

    /// Each statement is an artifact that refers to the image, in place of an earlier one of its kind.
    fn refer(&self, statements: &[Statement], manifest: &Descriptor) -> Result<(), Cause> {
        for statement in statements {
            let artifact = Artifact::referrer(statement, manifest);
            put(self.store, self.lease, &artifact)?;
            self.store.referrers.replace(&manifest.digest, &artifact.descriptor)?;
        }
        Ok(())
    }
}

/// Stores the documents of an artifact, held by `lease`.
pub(crate) fn put(store: &Store, lease: &Lease, artifact: &Artifact) -> Result<(), Cause> {
    for (descriptor, bytes) in &artifact.documents {
        lease.hold(&Resource::Blob(descriptor.digest.clone()))?;
        store.content.put(descriptor.media_type.clone(), bytes)?;
    }
    Ok(())
}
