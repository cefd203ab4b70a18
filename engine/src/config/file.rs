//! The configuration file: TOML text to values, with errors that point at the line.

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{HostConfig, Keypair, RegistryConfig};
use crate::{Error, Result};

const TOP_KEYS: &[&str] = &["root", "registry", "cdi-spec-dirs"];
const REGISTRY_KEYS: &[&str] = &["mirrors", "http", "insecure", "ca", "keypair"];
const KEYPAIR_KEYS: &[&str] = &["key", "cert"];
/// How alike two keys must be for one to be suggested instead of the other (Jaro-Winkler).
const ALIKE: f64 = 0.75;

/// What a configuration file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) root: Option<PathBuf>,
    pub(super) registries: RegistryConfig,
    pub(super) cdi_spec_dirs: Vec<PathBuf>,
}

/// Reads the text of the file called `name`.
pub(super) fn parse(text: &str, name: &str) -> Result<Parsed> {
    let at = Position { text, name };
    let table = DeTable::parse(text).map_err(|error| at.broken(&error))?;
    let mut parsed = Parsed::default();
    for (key, value) in table.get_ref() {
        match key.get_ref().as_ref() {
            "root" => parsed.root = Some(PathBuf::from(at.string("root", value)?)),
            "cdi-spec-dirs" => {
                parsed.cdi_spec_dirs =
                    at.strings("cdi-spec-dirs", value)?.into_iter().map(PathBuf::from).collect();
            }
            "registry" => parsed.registries = registries(&at, value)?,
            _ => return Err(at.unknown(key, "", TOP_KEYS)),
        }
    }
    Ok(parsed)
}

pub(super) fn registries(at: &Position, value: &Spanned<DeValue>) -> Result<RegistryConfig> {
    let hosts = at.table("registry", value)?;
    hosts
        .iter()
        .map(|(host, value)| {
            let host = host.get_ref().to_string();
            let table = registry(at, &format!("registry.\"{host}\""), value)?;
            Ok((host, table))
        })
        .collect()
}

fn registry(at: &Position, name: &str, value: &Spanned<DeValue>) -> Result<HostConfig> {
    let mut host = HostConfig::default();
    for (key, value) in at.table(name, value)? {
        match key.get_ref().as_ref() {
            "mirrors" => host.mirrors = at.strings("mirrors", value)?,
            "http" => host.http = Some(at.boolean("http", value)?),
            "insecure" => host.insecure = Some(at.boolean("insecure", value)?),
            "ca" => host.ca = at.strings("ca", value)?.into_iter().map(PathBuf::from).collect(),
            "keypair" => host.keypair = keypairs(at, value)?,
            _ => return Err(at.unknown(key, &format!(" in `[{name}]`"), REGISTRY_KEYS)),
        }
    }
    Ok(host)
}

fn keypairs(at: &Position, value: &Spanned<DeValue>) -> Result<Vec<Keypair>> {
    at.array("keypair", value)?.iter().map(|pair| keypair(at, pair)).collect()
}

fn keypair(at: &Position, value: &Spanned<DeValue>) -> Result<Keypair> {
    let (mut key_file, mut cert_file) = (None, None);
    for (key, value) in at.table("keypair", value)? {
        match key.get_ref().as_ref() {
            "key" => key_file = Some(PathBuf::from(at.string("key", value)?)),
            "cert" => cert_file = Some(PathBuf::from(at.string("cert", value)?)),
            _ => return Err(at.unknown(key, " in a keypair", KEYPAIR_KEYS)),
        }
    }
    match (key_file, cert_file) {
        (Some(key), Some(cert)) => Ok(Keypair { key, cert }),
        _ => Err(at.error(value.span(), "a keypair needs both `key` and `cert`")),
    }
}

/// Turns places in the text into errors that name file and line.
pub(super) struct Position<'a> {
    pub(super) text: &'a str,
    pub(super) name: &'a str,
}

impl Position<'_> {
    pub(super) fn error(&self, span: Range<usize>, message: &str) -> Error {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::invalid(format!("{}:{line}: {message}", self.name))
    }

    pub(super) fn broken(&self, error: &toml::de::Error) -> Error {
        self.error(error.span().unwrap_or_default(), error.message())
    }

    pub(super) fn unknown(
        &self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        place: &str,
        known: &[&str],
    ) -> Error {
        let name = key.get_ref();
        let error = self.error(key.span(), &format!("unknown key `{name}`{place}"));
        match nearest(name, known) {
            Some(suggestion) => error.with_hint(format!("did you mean `{suggestion}`?")),
            None => error.with_hint(format!("known keys are `{}`", known.join("`, `"))),
        }
    }

    pub(super) fn wrong(&self, key: &str, value: &Spanned<DeValue>, wanted: &str) -> Error {
        self.error(
            value.span(),
            &format!("`{key}` must be {wanted}, and is a {}", type_name(value.get_ref())),
        )
    }

    /// The same where the text of a string is wrong.
    pub(super) fn wrong_text(&self, key: &str, value: &Spanned<DeValue>, wanted: &str) -> Error {
        self.error(value.span(), &format!("`{key}` must be {wanted}"))
    }

    pub(super) fn table<'v, 'i>(
        &self,
        key: &str,
        value: &'v Spanned<DeValue<'i>>,
    ) -> Result<&'v DeTable<'i>> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.wrong(key, value, "a table")),
        }
    }

    pub(super) fn array<'v, 'i>(
        &self,
        key: &str,
        value: &'v Spanned<DeValue<'i>>,
    ) -> Result<&'v toml::de::DeArray<'i>> {
        match value.get_ref() {
            DeValue::Array(array) => Ok(array),
            _ => Err(self.wrong(key, value, "an array")),
        }
    }

    pub(super) fn string(&self, key: &str, value: &Spanned<DeValue>) -> Result<String> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(self.wrong(key, value, "a string")),
        }
    }

    pub(super) fn strings(&self, key: &str, value: &Spanned<DeValue>) -> Result<Vec<String>> {
        self.array(key, value)?.iter().map(|item| self.string(key, item)).collect()
    }

    pub(super) fn boolean(&self, key: &str, value: &Spanned<DeValue>) -> Result<bool> {
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => Err(self.wrong(key, value, "`true` or `false`")),
        }
    }
}

fn type_name(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "number",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "date",
        DeValue::Array(_) => "list",
        DeValue::Table(_) => "table",
    }
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let score = |candidate: &str| strsim::jaro_winkler(&name.to_lowercase(), candidate);
    let best = known.iter().copied().max_by(|a, b| score(a).total_cmp(&score(b)))?;
    (score(best) >= ALIKE).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_tables_are_read_as_buildkitd_writes_them() {
        let text = r#"
root = "/srv/kiln"
cdi-spec-dirs = ["/opt/cdi"]
[registry."docker.io"]
mirrors = ["127.0.0.1:5000", "mirror.example/hub"]
[registry."registry.example:5000"]
http = true
insecure = true
ca = ["/etc/ca.pem"]
[[registry."registry.example:5000".keypair]]
key = "/etc/key.pem"
cert = "/etc/cert.pem"
"#;
        let parsed = parse(text, "kiln.toml").unwrap();
        assert_eq!(parsed.root.as_deref(), Some("/srv/kiln".as_ref()));
        assert_eq!(parsed.cdi_spec_dirs, [PathBuf::from("/opt/cdi")]);
        assert_eq!(parsed.registries["docker.io"].mirrors, ["127.0.0.1:5000", "mirror.example/hub"]);
        let host = &parsed.registries["registry.example:5000"];
        assert_eq!((host.http, host.insecure), (Some(true), Some(true)));
        assert_eq!(host.ca, [PathBuf::from("/etc/ca.pem")]);
        let pair = Keypair { key: "/etc/key.pem".into(), cert: "/etc/cert.pem".into() };
        assert_eq!(host.keypair, [pair]);
    }

    #[test]
    fn errors_name_file_line_and_the_nearest_key() {
        let cases: &[(&str, &str, Option<&str>)] = &[
            (
                "[registry.\"docker.io\"]\nmirors = []\n",
                "c.toml:2: unknown key `mirors` in `[registry.\"docker.io\"]`",
                Some("did you mean `mirrors`?"),
            ),
            ("\n\nregistries = 1", "c.toml:3: unknown key `registries`", Some("did you mean `registry`?")),
            (
                "zzz = 1",
                "c.toml:1: unknown key `zzz`",
                Some("known keys are `root`, `registry`, `cdi-spec-dirs`"),
            ),
            (
                "[registry.a]\nhttp = \"yes\"",
                "c.toml:2: `http` must be `true` or `false`, and is a string",
                None,
            ),
            (
                "[registry.a]\nkeypair = [{ key = \"k\" }]",
                "c.toml:2: a keypair needs both `key` and `cert`",
                None,
            ),
        ];
        for (text, message, hint) in cases {
            let error = parse(text, "c.toml").unwrap_err();
            assert_eq!(error.message, *message);
            assert_eq!(error.hint.as_deref(), *hint);
        }
    }

    #[test]
    fn broken_toml_is_an_error_with_its_line() {
        let error = parse("root = \"/x\"\nroot = \n", "c.toml").unwrap_err();
        assert!(error.message.starts_with("c.toml:2: "), "{}", error.message);
    }
}
