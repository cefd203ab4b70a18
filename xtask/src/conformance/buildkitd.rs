//! A BuildKit of today, its daemon and client given by path.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use kiln_test_support::conformance::{Built, Case};

use super::builders::{Builder, Outcome, context, failure};
use crate::field::Field;
use crate::peers::{Daemon, wait_for_socket};

/// `buildkitd` with its state on the field.
pub(crate) struct Buildkitd {
    client: PathBuf,
    socket: PathBuf,
    base: Built,
    _daemon: Daemon,
}

impl Buildkitd {
    pub(crate) fn new(field: &Field, daemon: &Path, client: &Path) -> Result<Self> {
        let folder = field.folder("buildkitd")?;
        let registry = field.registry()?;
        let config = folder.join("buildkitd.toml");
        fs::write(
            &config,
            format!(
                "[registry.\"docker.io\"]\nmirrors = [\"{registry}\"]\n[registry.\"{registry}\"]\nhttp = true\n"
            ),
        )?;
        let socket = folder.join("socket");
        let child = Command::new(daemon)
            .arg("--root")
            .arg(folder.join("root"))
            .arg("--config")
            .arg(&config)
            .arg("--addr")
            .arg(format!("unix://{}", socket.display()))
            .args(["--oci-worker-net", "host", "--containerd-worker=false"])
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log"))?)
            .spawn()
            .with_context(|| format!("cannot start {}", daemon.display()))?;
        let daemon = Daemon(child);
        wait_for_socket(&socket, &folder.join("log"))?;
        let mut buildkitd =
            Buildkitd { client: client.to_owned(), socket, base: Built::default(), _daemon: daemon };
        let base = Case::base();
        buildkitd.base = buildkitd.image(&base, &context(field, &base)?)?.map_err(anyhow::Error::msg)?;
        Ok(buildkitd)
    }

    fn image(&self, case: &Case, context: &Path) -> Result<Result<Built, String>> {
        let archive = context.with_extension("buildkit.tar");
        let mut command = Command::new(&self.client);
        command.arg("--addr").arg(format!("unix://{}", self.socket.display()));
        command.args(["build", "--progress", "plain", "--frontend", "dockerfile.v0"]);
        for name in ["context", "dockerfile"] {
            command.arg("--local").arg(format!("{name}={}", context.display()));
        }
        for (name, value) in options(case) {
            command.arg("--opt").arg(format!("{name}={value}"));
        }
        command.arg("--output").arg(format!("type=docker,dest={}", archive.display()));
        if let Some(said) = failure(&mut command)? {
            return Ok(Err(said));
        }
        let built = Built::read(&archive).context("BuildKit's image")?;
        fs::remove_file(archive)?;
        Ok(Ok(built))
    }
}

impl Builder for Buildkitd {
    fn name(&self) -> &'static str {
        "buildkit"
    }

    fn knows(&self, _case: &Case) -> bool {
        true
    }

    fn build(&self, case: &Case, context: &Path) -> Result<Outcome> {
        Ok(match self.image(case, context)? {
            Ok(built) => Outcome::Image(built.beyond(&self.base)),
            Err(said) => Outcome::Rejected(said),
        })
    }
}

/// The case's options as the frontend knows them.
fn options(case: &Case) -> BTreeMap<String, String> {
    let mut options = BTreeMap::from([("force-network-mode".to_owned(), "none".to_owned())]);
    options.extend(case.build_args.iter().map(|(name, value)| (format!("build-arg:{name}"), value.clone())));
    options.extend(case.labels.iter().map(|(name, value)| (format!("label:{name}"), value.clone())));
    options.extend(case.target.iter().map(|target| ("target".to_owned(), target.clone())));
    options.extend(case.platform.iter().map(|platform| ("platform".to_owned(), platform.clone())));
    options
}
