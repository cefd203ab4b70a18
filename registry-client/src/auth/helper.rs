//! Programs that keep credentials, `docker-credential-NAME`, and how they are spoken to.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use super::Credential;

/// The user name by which helpers mark an identity token.
const TOKEN_USER: &str = "<token>";
/// The most bytes of a helper's answer.
const MAX_ANSWER: u64 = 1 << 20;
/// What all helpers say when they have nothing.
const NOT_FOUND: &str = "credentials not found";

/// Why a helper could not be used.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// Its name is not one.
    #[error("`{0}` is not the name of a credential helper: only letters, digits, `_`, `.` and `-`")]
    Name(String),
    /// It cannot be started or spoken to.
    #[error("cannot run the credential helper `{program}`")]
    Run {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It failed or answered nonsense.
    #[error("the credential helper `{program}` failed to {verb} the credential")]
    Failed {
        /// The program.
        program: String,
        /// What it was to do.
        verb: &'static str,
    },
}

/// One helper program, found in `PATH` and run without a shell.
#[derive(Debug, Clone)]
pub(super) struct Helper {
    program: OsString,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    username: String,
    secret: String,
}

impl Helper {
    pub(super) fn named(name: &str) -> Result<Self, HelperError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if name.is_empty() || !name.bytes().all(word) {
            return Err(HelperError::Name(name.escape_debug().to_string()));
        }
        Ok(Helper { program: format!("docker-credential-{name}").into() })
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Credential>, HelperError> {
        let (success, answer) = self.run("get", key.as_bytes())?;
        if !success {
            let found_nothing = String::from_utf8_lossy(&answer).contains(NOT_FOUND);
            return if found_nothing { Ok(None) } else { Err(self.failed("get")) };
        }
        let message: Message = serde_json::from_slice(&answer).map_err(|_| self.failed("get"))?;
        if message.secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(match message.username.as_str() {
            TOKEN_USER => Credential::IdentityToken(message.secret),
            _ => Credential::Basic { username: message.username, password: message.secret },
        }))
    }

    pub(super) fn store(&self, key: &str, credential: &Credential) -> Result<(), HelperError> {
        let (username, secret) = match credential {
            Credential::Basic { username, password } => (username.as_str(), password),
            Credential::IdentityToken(token) => (TOKEN_USER, token),
            // Helpers have no place for it.
            Credential::RegistryToken(_) => return Err(self.failed("store")),
        };
        let message =
            Message { server_url: key.to_owned(), username: username.to_owned(), secret: secret.clone() };
        let text = serde_json::to_vec(&message).map_err(|_| self.failed("store"))?;
        self.done("store", self.run("store", &text)?)
    }

    pub(super) fn erase(&self, key: &str) -> Result<(), HelperError> {
        self.done("erase", self.run("erase", key.as_bytes())?)
    }

    fn done(&self, verb: &'static str, (success, _): (bool, Vec<u8>)) -> Result<(), HelperError> {
        if success { Ok(()) } else { Err(self.failed(verb)) }
    }

    /// Whether it succeeded, and what it wrote.
    fn run(&self, verb: &str, input: &[u8]) -> Result<(bool, Vec<u8>), HelperError> {
        let failed = |source| HelperError::Run { program: self.name(), source };
        let mut command = Command::new(&self.program);
        command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        let answer = talk(&mut child, input);
        if answer.is_err() {
            // It may wait for us as we no longer wait for it.
            let _ = child.kill();
        }
        let status = child.wait().map_err(failed)?;
        Ok((status.success(), answer.map_err(failed)?))
    }

    fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    fn failed(&self, verb: &'static str) -> HelperError {
        HelperError::Failed { program: self.name(), verb }
    }
}

fn talk(child: &mut Child, input: &[u8]) -> io::Result<Vec<u8>> {
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            // A helper need not read what it does not need.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER + 1).read_to_end(&mut answer)?;
    }
    if answer.len() as u64 > MAX_ANSWER { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(answer) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A helper that keeps its credentials in a file beside it.
    fn helper(directory: &std::path::Path) -> Helper {
        let program = directory.join("docker-credential-test");
        let script = r#"#!/bin/sh
            kept="$0.kept"
            case "$1" in
            store) cat > "$kept" ;;
            get) [ -f "$kept" ] && cat "$kept" || { echo "credentials not found in native keychain"; exit 1; } ;;
            erase) rm "$kept" ;;
            esac
        "#;
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Helper { program: program.into() }
    }

    #[test]
    fn a_helper_keeps_gives_and_forgets() {
        let directory = tempfile::tempdir().unwrap();
        let helper = helper(directory.path());
        assert_eq!(helper.get("r.example").unwrap(), None);
        for credential in [
            Credential::Basic { username: "me".to_owned(), password: "pw".to_owned() },
            Credential::IdentityToken("token".to_owned()),
        ] {
            helper.store("r.example", &credential).unwrap();
            assert_eq!(helper.get("r.example").unwrap(), Some(credential));
        }
        helper.erase("r.example").unwrap();
        assert_eq!(helper.get("r.example").unwrap(), None);
        assert!(helper.erase("r.example").is_err());
    }

    #[test]
    fn a_missing_helper_is_named() {
        let error = Helper::named("is-not-there").unwrap().get("x").unwrap_err();
        assert!(error.to_string().contains("`docker-credential-is-not-there`"));
    }
}
