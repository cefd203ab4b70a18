//! Docker's `config.json`: reading, writing, and the helpers it names.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_oci::reference::DOCKER_HUB;
use serde_json::{Map, Value, json};

use super::helper::Helper;
pub use super::helper::HelperError;
use super::{Credential, Credentials};

/// The key under which Docker keeps the credential of Docker Hub.
pub const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// The most bytes of a `config.json`.
const MAX_CONFIG: u64 = 4 << 20;

/// Why credentials cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read or written.
    #[error("cannot access `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what Docker writes.
    #[error("`{}` is not a Docker configuration: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong; never a part of the content.
        problem: &'static str,
    },
    /// A helper failed.
    #[error(transparent)]
    Helper(#[from] HelperError),
}

/// The credentials in a `config.json` and in the helpers it names.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    path: PathBuf,
}

impl DockerConfig {
    /// The credentials in the file at `path`, which need not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        DockerConfig { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The credential for `host`: the helper's where one is named, else the file's.
    pub fn load(&self, host: &str) -> Result<Option<Credential>, CredentialsError> {
        let document = self.read()?;
        if let Some(helper) = helper_of(&document, host)?
            && let Some(credential) = helper.get(&key_of(host))?
        {
            return Ok(Some(credential));
        }
        let entry = entries(&document).find(|(key, _)| names(key, host)).map(|(_, entry)| entry);
        entry.map_or(Ok(None), |entry| decode(entry).map_err(|problem| self.malformed(problem)))
    }

    /// Remembers `credential` for `host`: in the helper where one is named, else in the file, which only its owner
    /// may read.
    pub fn store(&self, host: &str, credential: &Credential) -> Result<(), CredentialsError> {
        let mut document = self.read()?;
        let entry = match helper_of(&document, host)? {
            Some(helper) => {
                helper.store(&key_of(host), credential)?;
                // Docker leaves this mark, by which it lists the registries it is logged in to.
                json!({})
            }
            None => encode(credential),
        };
        let auths = document.entry("auths").or_insert_with(|| json!({}));
        let auths = auths.as_object_mut().ok_or_else(|| self.malformed("`auths` is not an object"))?;
        auths.retain(|key, _| !names(key, host));
        auths.insert(key_of(host), entry);
        self.write(&document)
    }

    /// Forgets the credential for `host`; whether there was one.
    pub fn erase(&self, host: &str) -> Result<bool, CredentialsError> {
        let mut document = self.read()?;
        let mut erased = false;
        if let Some(helper) = helper_of(&document, host)?
            && helper.get(&key_of(host))?.is_some()
        {
            helper.erase(&key_of(host))?;
            erased = true;
        }
        if let Some(auths) = document.get_mut("auths").and_then(Value::as_object_mut) {
            let before = auths.len();
            auths.retain(|key, _| !names(key, host));
            if auths.len() < before {
                erased = true;
                self.write(&document)?;
            }
        }
        Ok(erased)
    }

    fn read(&self) -> Result<Map<String, Value>, CredentialsError> {
        let mut text = Vec::new();
        match fs::File::open(&self.path) {
            Ok(file) => file.take(MAX_CONFIG + 1).read_to_end(&mut text).map_err(|error| self.io(error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
            Err(error) => return Err(self.io(error)),
        };
        if text.len() as u64 > MAX_CONFIG {
            return Err(self.malformed("it is too long"));
        }
        if text.trim_ascii().is_empty() {
            return Ok(Map::new());
        }
        serde_json::from_slice(&text).map_err(|_| self.malformed("it is not a JSON object"))
    }

    /// Writes a new file and puts it in the old one's place, links followed.
    fn write(&self, document: &Map<String, Value>) -> Result<(), CredentialsError> {
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory =
            target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let io = |error| self.io(error);
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
        let temporary = directory.join(format!(".config.json.{}", std::process::id()));
        let text = serde_json::to_vec_pretty(document).map_err(|error| self.io(error.into()))?;
        // What a crashed process of the same id left behind.
        let _ = fs::remove_file(&temporary);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
        let written = file.and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()));
        written.and_then(|()| fs::rename(&temporary, &target)).map_err(|error| {
            let _ = fs::remove_file(&temporary);
            self.io(error)
        })
    }

    fn io(&self, source: io::Error) -> CredentialsError {
        CredentialsError::Io { path: self.path.clone(), source }
    }

    fn malformed(&self, problem: &'static str) -> CredentialsError {
        CredentialsError::Malformed { path: self.path.clone(), problem }
    }
}

impl Credentials for DockerConfig {
    fn get(&self, host: &str) -> Option<Credential> {
        self.load(host).unwrap_or_else(|error| {
            tracing::warn!(%error, host, "going on without credentials");
            None
        })
    }
}

/// The key that Docker writes for a host.
fn key_of(host: &str) -> String {
    if host == DOCKER_HUB { DOCKER_HUB_KEY.to_owned() } else { host.to_owned() }
}

/// Whether a key of the file means exactly `host`. Older programs wrote keys as URLs.
fn names(key: &str, host: &str) -> bool {
    let bare = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    let (key_host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let whole_host = matches!(path.trim_end_matches('/'), "" | "v1" | "v2");
    let same = if host == DOCKER_HUB {
        matches!(key_host, DOCKER_HUB | "index.docker.io" | "registry-1.docker.io")
    } else {
        key_host == host
    };
    whole_host && same
}

fn entries(document: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    document.get("auths").and_then(Value::as_object).into_iter().flatten()
}

/// The helper for `host`: its own, else the one for all.
fn helper_of(document: &Map<String, Value>, host: &str) -> Result<Option<Helper>, HelperError> {
    let helpers = document.get("credHelpers").and_then(Value::as_object);
    let own = helpers.and_then(|helpers| helpers.iter().find(|(key, _)| names(key, host)));
    let name = own.map(|(_, name)| name).or(document.get("credsStore")).and_then(Value::as_str);
    name.filter(|name| !name.is_empty()).map(Helper::named).transpose()
}

fn decode(entry: &Value) -> Result<Option<Credential>, &'static str> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credential::RegistryToken(token.to_owned())));
    }
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Credential::IdentityToken(token.to_owned())));
    }
    let (username, password) = match (text("auth"), text("username"), text("password")) {
        (Some(auth), ..) => split_auth(auth).ok_or("an `auth` is not base64 of `user:password`")?,
        (None, Some(username), Some(password)) => (username.to_owned(), password.to_owned()),
        _ => return Ok(None),
    };
    Ok(Some(Credential::Basic { username, password }))
}

fn split_auth(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((username.to_owned(), password.trim_end_matches('\0').to_owned()))
}

fn encode(credential: &Credential) -> Value {
    match credential {
        Credential::Basic { username, password } => {
            json!({ "auth": STANDARD.encode(format!("{username}:{password}")) })
        }
        Credential::IdentityToken(token) => json!({ "identitytoken": token }),
        Credential::RegistryToken(token) => json!({ "registrytoken": token }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn basic(username: &str, password: &str) -> Credential {
        Credential::Basic { username: username.to_owned(), password: password.to_owned() }
    }

    fn with(text: &str) -> (tempfile::TempDir, DockerConfig) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        fs::write(&path, text).unwrap();
        (directory, DockerConfig::at(path))
    }

    #[test]
    fn what_is_stored_is_loaded_and_erased() {
        let directory = tempfile::tempdir().unwrap();
        let config = DockerConfig::at(directory.path().join("new/config.json"));
        assert_eq!(config.load("r.example").unwrap(), None);
        config.store("r.example", &basic("me", "a:b")).unwrap();
        config.store(DOCKER_HUB, &Credential::IdentityToken("t".to_owned())).unwrap();
        assert_eq!(config.load("r.example").unwrap(), Some(basic("me", "a:b")));
        assert_eq!(config.load(DOCKER_HUB).unwrap(), Some(Credential::IdentityToken("t".to_owned())));
        assert_eq!(fs::metadata(config.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(config.path()).unwrap().contains(DOCKER_HUB_KEY));
        assert!(config.erase("r.example").unwrap());
        assert!(!config.erase("r.example").unwrap());
        assert_eq!(config.load("r.example").unwrap(), None);
        assert_eq!(fs::read_dir(config.path().parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn other_keys_survive() {
        let (_directory, config) =
            with(r#"{"zeta":1,"auths":{"old.example":{"auth":"eDp5"}},"alpha":{"x":[]}}"#);
        config.store("r.example", &basic("me", "pw")).unwrap();
        let text = fs::read_to_string(config.path()).unwrap();
        assert!(text.find("zeta") < text.find("alpha") && text.contains("old.example"), "{text}");
    }

    #[test]
    fn a_key_means_exactly_one_host() {
        let text = r#"{"auths":{"https://a.example/v1/":{"auth":"eDp5"},"b.example/team":{"auth":"eDp5"},
            "https://index.docker.io/v1/":{"auth":"eDp5"},"c.example:5000":{"auth":"eDp5"}}}"#;
        let (_directory, config) = with(text);
        for host in ["a.example", "docker.io", "c.example:5000"] {
            assert_eq!(config.load(host).unwrap(), Some(basic("x", "y")), "{host}");
        }
        for host in ["b.example", "c.example", "example", "x.a.example", "a.example:443", ""] {
            assert_eq!(config.load(host).unwrap(), None, "{host}");
        }
    }

    #[test]
    fn malformed_files_are_errors_without_their_content() {
        for text in ["[]", "{", r#"{"auths":{"r.example":{"auth":"hunter2!"}}}"#] {
            let (_directory, config) = with(text);
            let error = config.load("r.example").unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
            assert_eq!(config.get("r.example"), None);
        }
        let (_directory, config) = with("");
        assert_eq!(config.load("r.example").unwrap(), None);
    }

    #[test]
    fn helper_names_cannot_leave_the_path() {
        for name in ["../x", "a/b", "a;b", "a b", "$(x)", "é", "a\\u0000"] {
            let (_directory, config) = with(&format!(r#"{{"credsStore":"{name}"}}"#));
            let error = config.load("r.example").unwrap_err().to_string();
            assert!(error.contains("credential helper"), "{error}");
        }
    }
}
