//! The packages of a filesystem, from the databases that package managers leave in it, as an SPDX document.
//!
//! [`scan`](scan::scan) reads beneath a root and follows no link out of it; the parsers, one a package manager, are
//! functions from bytes to [`Package`]s that take any bytes; [`spdx`] writes what was found. What is not read is told in
//! the document: a list that is silently short is worse than none.

mod apk;
mod auditable;
mod cargo;
mod distro;
mod dpkg;
mod fields;
mod license;
mod npm;
mod pip;
mod rpm;
pub mod scan;
pub mod spdx;
mod sqlite;
mod walk;

use std::ops::ControlFlow;

use crate::attest::purl::Purl;
pub use distro::Distro;

/// The most packages of one list.
pub const MAX_PACKAGES: usize = 200_000;
/// The most bytes of one field of a package.
const MAX_FIELD: usize = 4096;

/// An installed package.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Which manager installed it.
    pub manager: Manager,
    /// Its name as its manager writes it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The architecture, where its manager says one.
    pub arch: Option<String>,
    /// The number before an RPM's version.
    pub epoch: Option<u32>,
    /// Its licence as declared, in whichever notation.
    pub license: Option<String>,
    /// Who answers for it.
    pub supplier: Option<String>,
    /// Its home on the web.
    pub homepage: Option<String>,
    /// The source package that it was built from, where that has another name.
    pub source: Option<String>,
    /// The file that says so, relative to the root.
    pub found_in: String,
}

/// Who installs packages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manager {
    /// Debian's.
    #[default]
    Dpkg,
    /// Alpine's.
    Apk,
    /// Fedora's and others'.
    Rpm,
    /// Node.js's.
    Npm,
    /// Python's.
    Pip,
    /// Rust's.
    Cargo,
}

impl Manager {
    /// The package type of purl-spec.
    pub fn purl_type(self) -> &'static str {
        match self {
            Manager::Dpkg => "deb",
            Manager::Apk => "apk",
            Manager::Rpm => "rpm",
            Manager::Npm => "npm",
            Manager::Pip => "pypi",
            Manager::Cargo => "cargo",
        }
    }

    /// Whether its packages are a distribution's.
    fn is_of_distro(self) -> bool {
        matches!(self, Manager::Dpkg | Manager::Apk | Manager::Rpm)
    }
}

impl Package {
    /// Its package URL.
    pub fn purl(&self, distro: &Distro) -> Purl {
        let (namespace, name) = match self.manager {
            Manager::Npm => self.name.rsplit_once('/').unwrap_or(("", &self.name)),
            _ => ("", self.name.as_str()),
        };
        let (namespace, name) = match self.manager {
            Manager::Pip => (String::new(), name.to_lowercase().replace('_', "-")),
            Manager::Npm => (namespace.to_lowercase(), name.to_lowercase()),
            Manager::Cargo => (String::new(), name.to_owned()),
            Manager::Rpm => (distro.id.clone(), name.to_owned()),
            Manager::Dpkg | Manager::Apk => (distro.id.clone(), name.to_lowercase()),
        };
        let of_distro = if self.manager.is_of_distro() { distro.tag() } else { String::new() };
        let qualifiers = vec![
            ("arch", self.arch.clone().unwrap_or_default()),
            ("distro", of_distro),
            ("epoch", self.epoch.map(|epoch| epoch.to_string()).unwrap_or_default()),
        ];
        Purl { kind: self.manager.purl_type(), namespace, name, version: self.version.clone(), qualifiers }
    }

    /// Whether name and version can be taken for such.
    fn is_sound(&self) -> bool {
        let is_word =
            |text: &str| !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        let texts = [&self.license, &self.supplier, &self.homepage, &self.source];
        is_word(&self.name)
            && is_word(&self.version)
            && [self.name.len(), self.version.len()].into_iter().all(|length| length <= MAX_FIELD)
            && texts.into_iter().flatten().all(|text| text.len() <= MAX_FIELD)
    }
}

/// Takes a package that was read, or says that it is enough. Databases have more packages than are listed where somebody
/// wants memory to end, so each is handed on as it is read.
type Take<'a> = &'a mut dyn FnMut(Package) -> ControlFlow<()>;

/// Text that is there: trimmed and not empty.
fn text(value: &str) -> Option<String> {
    Some(value.trim()).filter(|value| !value.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
