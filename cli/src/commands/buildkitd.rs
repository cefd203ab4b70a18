//! `kiln buildkitd`, and kiln where it is called `buildkitd`.

mod settings;

use std::path::{Path, PathBuf};

use kiln_engine::config::buildkitd::Buildkitd;
use kiln_engine::{Config, Result};
use kiln_service::buildkit;
use kiln_service::server::{Settings, TlsFiles};

use super::{OK, serve};
use crate::app::{App, path_variable};
use crate::args::buildkitd::BuildkitdArgs;
use crate::{logs, terminal};

/// BuildKit's places.
const CONFIG: &str = "/etc/buildkit/buildkitd.toml";
const ROOT: &str = "/var/lib/buildkit";
/// Where BuildKit's clients look for the daemon.
const SOCKET: &str = "/run/buildkit/buildkitd.sock";

pub(super) fn run(args: &BuildkitdArgs, app: &App) -> Result<u8> {
    if args.version {
        return terminal::say(&buildkit::version_line("buildkitd")).map(|()| OK);
    }
    let own = app.own();
    let usual = own.map_or(PathBuf::from(CONFIG), |own| own.config.join("buildkit/buildkitd.toml"));
    let path = app.asked_config().unwrap_or(usual);
    let mut found = read(&path)?;
    settings::apply(args, app.debug(), &mut found)?;
    let format = found.log_format.as_deref() == Some("json");
    let format = if format { logs::Format::Json } else { logs::Format::Text };
    logs::start(Some(found.log_level.as_deref().unwrap_or("info")), format);
    if app.asked_config().is_some() && !path.exists() {
        tracing::warn!(path = %path.display(), "there is no such configuration");
    }
    for what in settings::ignored(args, &found) {
        tracing::warn!("{what} changes nothing here");
    }
    let root = app.asked_root().or_else(|| found.root.clone()).or_else(|| path_variable("KILN_ROOT"));
    let config = Config {
        root: root.unwrap_or_else(|| own.map_or(PathBuf::from(ROOT), |own| own.data.join("buildkit"))),
        registries: found.registries.clone(),
        cdi_spec_dirs: found.cdi_spec_dirs.clone(),
        cdi_disabled: found.cdi_disabled,
        host_proc: found.host_proc,
        dns: found.dns.clone(),
    };
    let socket = own.map_or(PathBuf::from(SOCKET), |own| own.runtime.join("buildkit/buildkitd.sock"));
    let options = settings::options(args, &found, socket)?;
    let tls = options.tls.clone();
    serve::answer(config, options, Box::new(move || reread(&path, tls.as_ref())))
}

/// The file; there need not be one.
fn read(path: &Path) -> Result<Buildkitd> {
    if path.exists() { Buildkitd::read(path) } else { Ok(Buildkitd::default()) }
}

/// What of the file counts before the next start. The files of TLS are those of the start.
fn reread(path: &Path, tls: Option<&TlsFiles>) -> Result<Settings> {
    Ok(Settings { registries: read(path)?.registries, tls: tls.cloned() })
}
