//! `kiln login` and `kiln logout`.

use std::io::Read as _;

use kiln_engine::{Credential, Engine, Error, Result};

use super::OK;
use crate::app::{App, block_on};
use crate::args::registry::{LoginArgs, LogoutArgs};
use crate::{credentials, terminal};

/// The name of Docker Hub in references.
const DOCKER_HUB: &str = "docker.io";
/// A password longer than this is not one.
const MAX_PASSWORD: u64 = 64 << 10;

pub(super) fn login(args: &LoginArgs, app: &App) -> Result<u8> {
    let host = host(args.registry.as_deref());
    let username = match &args.username {
        Some(username) => username.clone(),
        None if args.password_stdin => {
            return Err(Error::invalid("`--password-stdin` needs `--username`"));
        }
        None => terminal::ask("Username: ", false)?,
    };
    let password = password(args)?;
    if username.is_empty() || password.is_empty() {
        return Err(Error::invalid("a login needs a user name and a password"));
    }
    let credential = Credential::Basic { username, password };
    let engine = app.engine()?;
    block_on(check(&engine, &host, &credential))?;
    let config = credentials::docker_config();
    config
        .store(&host, &credential)
        .map_err(|error| Error::internal(format!("keep the credentials for `{host}`"), error))?;
    terminal::say(&format!("Login succeeded; kept in {}", config.path().display())).map(|()| OK)
}

async fn check(engine: &Engine, host: &str, credential: &Credential) -> Result<()> {
    engine.images().login(host, credential).await
}

pub(super) fn logout(args: &LogoutArgs) -> Result<u8> {
    let host = host(args.registry.as_deref());
    let erased = credentials::docker_config()
        .erase(&host)
        .map_err(|error| Error::internal(format!("forget the credentials for `{host}`"), error))?;
    let text =
        if erased { format!("Removed the login for {host}") } else { format!("Not logged in to {host}") };
    terminal::say(&text).map(|()| OK)
}

fn password(args: &LoginArgs) -> Result<String> {
    if let Some(password) = &args.password {
        return Ok(password.clone());
    }
    if !args.password_stdin {
        return terminal::ask("Password: ", true);
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(MAX_PASSWORD)
        .read_to_string(&mut text)
        .map_err(|error| Error::internal("read the password", error))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// `https://index.docker.io/v1/` and nothing at all are Docker Hub; a URL is its host.
fn host(registry: Option<&str>) -> String {
    let text = registry.unwrap_or(DOCKER_HUB);
    let host = text.split_once("://").map_or(text, |(_, rest)| rest);
    match host.split('/').next().unwrap_or(host) {
        "index.docker.io" | "registry-1.docker.io" | "" => DOCKER_HUB.to_owned(),
        host => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_its_host() {
        assert_eq!(host(None), "docker.io");
        assert_eq!(host(Some("https://index.docker.io/v1/")), "docker.io");
        assert_eq!(host(Some("registry.example:5000")), "registry.example:5000");
        assert_eq!(host(Some("http://127.0.0.1:5000/v2/")), "127.0.0.1:5000");
    }
}
