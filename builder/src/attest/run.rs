//! The part of a build that says things about its images.

use std::collections::HashSet;

use kiln_graph::Definition;

use crate::attest::Attest;
use crate::attest::make::{Made, provenance, sbom};
use crate::build::{Builder, Target};
use crate::error::{BuildError, Cause};
use crate::export::Image;
use crate::materials::Materials;
use crate::progress::{EventKind, Reporter};
use crate::pull;
use crate::solver::blocking;

/// What progress says of it.
const NAME: &str = "generating attestations";

/// What is to be said, and of which build.
#[derive(Clone, Copy)]
pub(crate) struct Saying<'a> {
    /// What is asked for; not empty.
    pub(crate) attest: &'a Attest,
    /// The graph.
    pub(crate) definition: &'a Definition,
    /// What sources were found to be.
    pub(crate) materials: &'a Materials,
    /// Replaces all times, in seconds.
    pub(crate) epoch: Option<i64>,
}

impl Builder {
    /// Says of each image what is asked for, as one step that is seen.
    pub(crate) async fn attest(
        &self,
        saying: Saying<'_>,
        targets: &[Target],
        images: &mut [Image],
        reporter: &dyn Reporter,
    ) -> Result<(), BuildError> {
        let registered =
            EventKind::Registered { name: NAME.to_owned(), digest: None, inputs: Vec::new(), stage: None };
        reporter.report(registered);
        reporter.report(EventKind::Started);
        let done = self.attest_now(saying, targets, images, reporter).await;
        reporter.report(match &done {
            Ok(()) => EventKind::Done,
            Err(cause) => EventKind::Failed(cause.to_string()),
        });
        done.map_err(|cause| BuildError::of(NAME, cause))
    }

    async fn attest_now(
        &self,
        saying: Saying<'_>,
        targets: &[Target],
        images: &mut [Image],
        reporter: &dyn Reporter,
    ) -> Result<(), Cause> {
        let Saying { attest, definition, materials, epoch } = saying;
        let mut told = HashSet::new();
        for (image, target) in images.iter_mut().zip(targets) {
            let made = Made { definition, root: target.root, materials, epoch };
            image.attestations.extend(provenance(attest, made)?);
            if !attest.sbom {
                continue;
            }
            pull::unpack(self.stores(), &image.layers, reporter).await?;
            let (store, attest) = (self.stores().store.clone(), attest.clone());
            let (layers, platform) = (image.layers.clone(), image.platform.clone());
            let (attestation, notes) =
                blocking(move || sbom(&store, &attest, &layers, &platform, epoch)).await?;
            image.attestations.push(attestation);
            for note in notes.into_iter().filter(|note| told.insert(note.clone())) {
                reporter.report(EventKind::Warning(format!("the list of packages lacks {note}").into()));
            }
        }
        Ok(())
    }
}
