//! Statements about what was built: how it came to be and what it consists of.
//!
//! [`statement`] is what is said, [`manifest`] how it hangs on an image, [`crate::provenance`] and [`crate::sbom`] what
//! there is to say. Statements about an image are made once and become those of a manifest when there is one.

pub(crate) mod attach;
pub(crate) mod files;
pub(crate) mod make;
pub mod manifest;
pub mod purl;
mod run;
pub mod statement;

use std::time::SystemTime;

use kiln_oci::Reference;
use serde_json::value::RawValue;

use crate::export::Export;
use crate::provenance;
pub(crate) use run::Saying;

/// The name of a list of packages as a file.
pub const SBOM_FILE: &str = "sbom.spdx.json";
/// The name of a provenance as a file, unless another one is asked for.
pub const PROVENANCE_FILE: &str = "provenance.json";

/// What is to be said about the images of a build.
#[derive(Debug, Clone, Default)]
pub struct Attest {
    /// How they came to be.
    pub provenance: Option<Provenance>,
    /// What they consist of.
    pub sbom: bool,
    /// How statements hang on an image of the store.
    pub form: Form,
    /// What was asked of the build.
    pub request: provenance::Request,
    /// What people call the image; filled in by the names of exports.
    pub names: Vec<Reference>,
    /// The build's own name, and when it began; left out where the result is to be the same each time.
    pub invocation: Option<(String, SystemTime)>,
}

/// A provenance that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// What it tells.
    pub options: provenance::Options,
    /// Its name as a file.
    pub file: String,
    /// Whether it goes to images alone, not to folders and tars of files.
    pub inline_only: bool,
}

/// How statements hang on an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// As artifacts that refer to its manifest, which stays what it is.
    #[default]
    Referrers,
    /// As entries of an index beside it, as BuildKit does.
    Index,
}

impl Attest {
    /// The same about what `exports` call the image.
    pub(crate) fn named_by(&self, exports: &[Export]) -> Attest {
        let mut names: Vec<Reference> = Vec::new();
        for name in exports.iter().filter_map(Export::image).flat_map(|image| &image.names) {
            let name = name.clone().with_default_tag();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Attest { names, ..self.clone() }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.provenance.is_none() && !self.sbom
    }
}

/// Something said about an image, whichever manifest it will have.
#[derive(Debug, Clone)]
pub(crate) struct Attestation {
    /// What the predicate is.
    pub(crate) predicate_type: &'static str,
    /// What is said.
    pub(crate) predicate: Box<RawValue>,
    /// Its name as a file.
    pub(crate) file: String,
    /// Whether it goes to images alone.
    pub(crate) inline_only: bool,
}
