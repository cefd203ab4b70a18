//! `buildkitd.toml`, BuildKit's configuration file, as far as it means something here.
//!
//! What BuildKit knows and kiln has no use for is told ([`Buildkitd::ignored`]); what would take a right away that kiln goes on
//! giving is an error, and so is what BuildKit does not know either.

mod sections;
mod worker;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::Position;
use super::{Dns, RegistryConfig, file, read};
use crate::{Error, ErrorKind, Result};

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buildkitd {
    /// The state root.
    pub root: Option<PathBuf>,
    /// Entitlements that clients may grant their builds.
    pub entitlements: Vec<String>,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: Option<String>,
    /// `text` or `json`.
    pub log_format: Option<String>,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Where numbers for monitoring are served, `host:port`.
    pub debug_address: Option<String>,
    /// Who unix sockets belong to.
    pub uid: Option<u32>,
    /// The group of unix sockets.
    pub gid: Option<u32>,
    /// The PEM files of TLS.
    pub tls: TlsPaths,
    /// Whether no devices are given to steps.
    pub cdi_disabled: bool,
    /// Whether steps see the machine's `/proc`.
    pub host_proc: bool,
    /// Where specs of devices are.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// The name servers of steps.
    pub dns: Dns,
    /// How registries are reached.
    pub registries: RegistryConfig,
    /// The frontends that clients may ask for.
    pub frontends: Frontends,
    /// The one worker.
    pub worker: Worker,
    /// What changes nothing here, each as `file:line: key`.
    pub ignored: Vec<String>,
}

/// `[grpc.tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsPaths {
    /// The authority of the clients' certificates.
    pub ca: Option<PathBuf>,
    /// Our certificate.
    pub cert: Option<PathBuf>,
    /// Our key.
    pub key: Option<PathBuf>,
}

/// `[frontend.…]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontends {
    /// Whether Dockerfiles are built; they are where nothing is said.
    pub dockerfile: Option<bool>,
    /// Whether frontends from images are taken; they are where nothing is said.
    pub gateway: Option<bool>,
    /// The repositories that such images may be from; empty for all.
    pub repositories: Vec<String>,
}

/// `[worker.oci]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Worker {
    /// Labels that clients see.
    pub labels: BTreeMap<String, String>,
    /// The platforms that clients are told; empty for what the machine runs.
    pub platforms: Vec<String>,
    /// How many steps of a build run at once.
    pub max_parallelism: Option<usize>,
    /// Whether the build cache is kept small; it is where nothing is said.
    pub gc: Option<bool>,
    /// How small, where there are no policies.
    pub space: GcSpace,
    /// What is removed when.
    pub policies: Vec<GcPolicy>,
}

/// `[[worker.oci.gcpolicy]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcPolicy {
    /// Whether what is costly to make again goes as well.
    pub all: bool,
    /// Which kinds of records it is about; empty for all.
    pub filters: Vec<String>,
    /// What was used within this time stays.
    pub keep: Option<Duration>,
    /// The space that it may take.
    pub space: GcSpace,
}

/// Bounds of the space that the build cache takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcSpace {
    /// So much is never taken away.
    pub reserved: Option<DiskSpace>,
    /// So much it may take.
    pub max_used: Option<DiskSpace>,
    /// So much of the disk should stay free.
    pub min_free: Option<DiskSpace>,
}

/// A part of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskSpace {
    /// In bytes.
    Bytes(u64),
    /// In hundredths of the whole.
    Percent(u64),
}

impl Buildkitd {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Buildkitd> {
        Buildkitd::parse(&read(path)?, &path.display().to_string())
    }

    /// Reads the text of the file called `name`.
    pub fn parse(text: &str, name: &str) -> Result<Buildkitd> {
        let at = Position { text, name };
        let table = DeTable::parse(text).map_err(|error| at.broken(&error))?;
        let mut reading = Reading { at, found: Buildkitd::default() };
        reading.top(table.get_ref())?;
        Ok(reading.found)
    }
}

type Key<'i> = Spanned<Cow<'i, str>>;
type Value<'i> = Spanned<DeValue<'i>>;

/// A file that is being read.
struct Reading<'a> {
    at: Position<'a>,
    found: Buildkitd,
}

const TOP: &[&str] = &[
    "root",
    "debug",
    "trace",
    "insecure-entitlements",
    "proxyNetwork",
    "provenanceEnvDir",
    "log",
    "dns",
    "grpc",
    "otel",
    "cdi",
    "history",
    "worker",
    "registry",
    "frontend",
    "system",
    "cache",
    "ghacache",
];

impl Reading<'_> {
    fn top(&mut self, table: &DeTable<'_>) -> Result<()> {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "root" => self.found.root = self.path("root", value)?,
                name @ ("debug" | "trace") => {
                    // `[log]` has the last word.
                    if self.at.boolean(name, value)? && self.found.log_level.as_deref() != Some("trace") {
                        self.found.log_level.get_or_insert_with(|| name.to_owned());
                    }
                }
                "insecure-entitlements" => self.entitlements(value)?,
                "proxyNetwork" if self.at.boolean("proxyNetwork", value)? => {
                    let why = "steps would reach the network past the proxy";
                    return Err(self.refused(value, "proxyNetwork", why));
                }
                "proxyNetwork" => {}
                "provenanceEnvDir" | "otel" | "history" | "system" | "cache" | "ghacache" => {
                    self.ignore(key, "");
                }
                "log" => {}
                "dns" => self.dns(value)?,
                "grpc" => self.grpc(value)?,
                "cdi" => self.cdi(value)?,
                "worker" => self.workers(value)?,
                "registry" => self.found.registries = file::registries(&self.at, value)?,
                "frontend" => self.frontends(value)?,
                _ => return Err(self.at.unknown(key, "", TOP)),
            }
        }
        match table.get("log") {
            Some(log) => self.log(log),
            None => Ok(()),
        }
    }

    /// Notes that a key which BuildKit knows changes nothing here.
    fn ignore(&mut self, key: &Key<'_>, place: &str) {
        let dot = if place.is_empty() { "" } else { "." };
        let told = self.at.error(key.span(), &format!("`{place}{dot}{}`", key.get_ref()));
        self.found.ignored.push(told.message);
    }

    /// The error of a key whose effect somebody relies on.
    fn refused(&self, value: &Value<'_>, key: &str, why: &str) -> Error {
        let told = self.at.error(value.span(), &format!("`{key}`: {why}"));
        Error::new(ErrorKind::NotImplemented, told.message)
    }

    /// A path; an empty one is none.
    fn path(&self, key: &str, value: &Value<'_>) -> Result<Option<PathBuf>> {
        Ok(Some(self.at.string(key, value)?).filter(|path| !path.is_empty()).map(PathBuf::from))
    }

    fn number<T: TryFrom<u64>>(&self, key: &str, value: &Value<'_>) -> Result<T> {
        let DeValue::Integer(number) = value.get_ref() else {
            return Err(self.at.wrong(key, value, "a number"));
        };
        let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| self.at.error(value.span(), &format!("`{key}` is out of range")))
    }
}

#[cfg(test)]
mod tests;
