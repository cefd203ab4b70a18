//! The tables of `buildkitd.toml` that are not about workers.

use std::path::PathBuf;

use super::{Reading, TlsPaths, Value};
use crate::Result;

/// What clients can be let grant; `device` is for all devices.
const ENTITLEMENTS: [&str; 3] = ["network.host", "security.insecure", "device"];
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
const FORMATS: [&str; 2] = ["text", "json"];

impl Reading<'_> {
    pub(super) fn entitlements(&mut self, value: &Value<'_>) -> Result<()> {
        let all = self.at.strings("insecure-entitlements", value)?;
        if let Some(other) = all.iter().find(|name| !ENTITLEMENTS.contains(&name.as_str())) {
            let message = format!("`{other}` is no entitlement; there are `{}`", ENTITLEMENTS.join("`, `"));
            return Err(self.at.error(value.span(), &message));
        }
        self.found.entitlements = all;
        Ok(())
    }

    pub(super) fn log(&mut self, value: &Value<'_>) -> Result<()> {
        for (key, value) in self.at.table("log", value)? {
            match key.get_ref().as_ref() {
                "level" => {
                    let level = self.one_of("level", value, &LEVELS)?;
                    self.found.log_level = level.or(self.found.log_level.take());
                }
                "format" => self.found.log_format = self.one_of("format", value, &FORMATS)?,
                _ => return Err(self.at.unknown(key, " in `[log]`", &["level", "format"])),
            }
        }
        Ok(())
    }

    /// One of some words; an empty one is none.
    fn one_of(&self, name: &str, value: &Value<'_>, words: &[&str]) -> Result<Option<String>> {
        let mut word = self.at.string(name, value)?;
        if word == "warning" {
            "warn".clone_into(&mut word);
        }
        match word.as_str() {
            "" => Ok(None),
            known if words.contains(&known) => Ok(Some(word)),
            _ => {
                let message = format!("`{name}` is one of `{}`", words.join("`, `"));
                Err(self.at.error(value.span(), &message))
            }
        }
    }

    pub(super) fn dns(&mut self, value: &Value<'_>) -> Result<()> {
        const KEYS: &[&str] = &["nameservers", "options", "searchDomains"];
        for (key, value) in self.at.table("dns", value)? {
            let name = key.get_ref().as_ref();
            let list = match name {
                "nameservers" => &mut self.found.dns.nameservers,
                "options" => &mut self.found.dns.options,
                "searchDomains" => &mut self.found.dns.search,
                _ => return Err(self.at.unknown(key, " in `[dns]`", KEYS)),
            };
            *list = self.at.strings(name, value)?;
            let broken = |word: &String| word.is_empty() || word.chars().any(char::is_whitespace);
            if let Some(word) = list.iter().find(|word| broken(word)) {
                return Err(self
                    .at
                    .error(value.span(), &format!("`{name}`: `{}` is no word", word.escape_debug())));
            }
        }
        let servers = &self.found.dns.nameservers;
        match servers.iter().find(|server| server.parse::<std::net::IpAddr>().is_err()) {
            Some(server) => {
                Err(self.at.error(value.span(), &format!("`{server}` is no address of a name server")))
            }
            None => Ok(()),
        }
    }

    pub(super) fn grpc(&mut self, value: &Value<'_>) -> Result<()> {
        const KEYS: &[&str] = &["address", "debugAddress", "uid", "gid", "tls"];
        for (key, value) in self.at.table("grpc", value)? {
            match key.get_ref().as_ref() {
                "address" => self.found.addresses = self.at.strings("address", value)?,
                "debugAddress" => {
                    let address = self.at.string("debugAddress", value)?;
                    self.found.debug_address = Some(address).filter(|address| !address.is_empty());
                }
                "uid" => self.found.uid = Some(self.number("uid", value)?),
                "gid" => self.found.gid = Some(self.number("gid", value)?),
                "tls" => self.found.tls = self.tls(value)?,
                "securityDescriptor" => self.ignore(key, "grpc"),
                _ => return Err(self.at.unknown(key, " in `[grpc]`", KEYS)),
            }
        }
        Ok(())
    }

    fn tls(&self, value: &Value<'_>) -> Result<TlsPaths> {
        let mut tls = TlsPaths::default();
        for (key, value) in self.at.table("tls", value)? {
            match key.get_ref().as_ref() {
                "ca" => tls.ca = self.path("ca", value)?,
                "cert" => tls.cert = self.path("cert", value)?,
                "key" => tls.key = self.path("key", value)?,
                _ => return Err(self.at.unknown(key, " in `[grpc.tls]`", &["cert", "key", "ca"])),
            }
        }
        Ok(tls)
    }

    pub(super) fn cdi(&mut self, value: &Value<'_>) -> Result<()> {
        for (key, value) in self.at.table("cdi", value)? {
            match key.get_ref().as_ref() {
                "disabled" => self.found.cdi_disabled = self.at.boolean("disabled", value)?,
                "specDirs" => {
                    let all = self.at.strings("specDirs", value)?;
                    self.found.cdi_spec_dirs = all.into_iter().map(PathBuf::from).collect();
                }
                "autoAllowed" => self.ignore(key, "cdi"),
                _ => {
                    return Err(self.at.unknown(
                        key,
                        " in `[cdi]`",
                        &["disabled", "specDirs", "autoAllowed"],
                    ));
                }
            }
        }
        Ok(())
    }

    pub(super) fn frontends(&mut self, value: &Value<'_>) -> Result<()> {
        for (key, value) in self.at.table("frontend", value)? {
            let name = key.get_ref().as_ref();
            let is_gateway = match name {
                "gateway.v0" => true,
                "dockerfile.v0" => false,
                _ => return Err(self.at.unknown(key, " in `[frontend]`", &["dockerfile.v0", "gateway.v0"])),
            };
            for (key, value) in self.at.table(name, value)? {
                let frontends = &mut self.found.frontends;
                match key.get_ref().as_ref() {
                    "enabled" if is_gateway => frontends.gateway = Some(self.at.boolean("enabled", value)?),
                    "enabled" => frontends.dockerfile = Some(self.at.boolean("enabled", value)?),
                    "allowedRepositories" if is_gateway => {
                        frontends.repositories = self.at.strings("allowedRepositories", value)?;
                    }
                    _ => {
                        let place = format!(" in `[frontend.\"{name}\"]`");
                        return Err(self.at.unknown(key, &place, &["enabled", "allowedRepositories"]));
                    }
                }
            }
        }
        Ok(())
    }
}
