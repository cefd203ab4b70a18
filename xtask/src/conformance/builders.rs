//! Who builds a case: kiln, and Docker's engine with its BuildKit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use kiln_test_support::conformance::{Built, Case, Picture, options, write_context};

use crate::field::Field;
use crate::peers::{Kind, Peer};

/// What the base of nearly all cases is called.
const BASE: &str = "busybox:latest";

/// What came of a build.
pub(crate) enum Outcome {
    /// An image, told beyond its base.
    Image(Picture),
    /// Nothing; what the builder said.
    Rejected(String),
}

/// Somebody who builds.
pub(crate) trait Builder: Sync {
    /// Its name in the report and in `known.toml`.
    fn name(&self) -> &'static str;

    /// Whether it knows what the case is about.
    fn knows(&self, case: &Case) -> bool;

    /// Builds `case` from its written `context`.
    fn build(&self, case: &Case, context: &Path) -> Result<Outcome>;
}

/// Writes the case's files once, whoever reads them.
pub(crate) fn context(field: &Field, case: &Case) -> Result<PathBuf> {
    let folder = field.folder(&format!("contexts/{}", case.id()))?;
    fs::remove_dir_all(&folder)?;
    fs::create_dir(&folder)?;
    write_context(case, &folder).context("cannot write the context")?;
    Ok(folder)
}

/// Runs a build; what it said where it failed.
pub(crate) fn failure(command: &mut Command) -> Result<Option<String>> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((!output.status.success()).then_some(said))
}

/// The kiln that is measured.
pub(crate) struct Kiln<'a> {
    field: &'a Field,
    base: Built,
}

impl<'a> Kiln<'a> {
    pub(crate) fn new(field: &'a Field) -> Result<Self> {
        let mut kiln = Kiln { field, base: Built::default() };
        let base = Case::base();
        kiln.base = kiln.image(&base, &context(field, &base)?)?.map_err(anyhow::Error::msg)?;
        Ok(kiln)
    }

    pub(crate) fn build(&self, case: &Case, context: &Path) -> Result<Outcome> {
        Ok(match self.image(case, context)? {
            Ok(built) => Outcome::Image(built.beyond(&self.base)),
            Err(said) => Outcome::Rejected(said),
        })
    }

    fn image(&self, case: &Case, context: &Path) -> Result<Result<Built, String>> {
        let archive = context.with_extension("kiln.tar");
        let mut command = self.field.command("kiln", &["build", "--progress", "plain"]);
        command.args(options(case)).arg("--output").arg(format!("type=docker,dest={}", archive.display()));
        if let Some(said) = failure(command.arg(context))? {
            return Ok(Err(said));
        }
        let built = Built::read(&archive).context("kiln's image")?;
        fs::remove_file(archive)?;
        Ok(Ok(built))
    }
}

/// Docker's engine 20.10 with the BuildKit in it.
pub(crate) struct Docker {
    peer: Peer,
    base: Built,
}

impl Docker {
    pub(crate) fn new(field: &Field) -> Result<Self> {
        let peer = Peer::open(Kind::BuildKit, field).context("Docker's engine cannot be used")?;
        // Under the name that the cases use, so that nobody looks it up anywhere.
        let image = peer.image(BASE);
        peer.must(&["pull", "-q", &image])?;
        peer.must(&["tag", &image, BASE])?;
        let mut docker = Docker { peer, base: Built::default() };
        let base = Case::base();
        docker.base = docker.image(&base, &context(field, &base)?)?.map_err(anyhow::Error::msg)?;
        Ok(docker)
    }

    fn image(&self, case: &Case, context: &Path) -> Result<Result<Built, String>> {
        let tag = case.id().to_lowercase();
        let mut command = self.peer.command(&["build", "--tag", &tag]);
        if let Some(said) = failure(command.args(options(case)).arg(context))? {
            return Ok(Err(said));
        }
        let archive = context.with_extension("docker.tar");
        self.peer.must(&["save", "--output", &archive.display().to_string(), &tag])?;
        let built = Built::read(&archive).context("Docker's image")?;
        fs::remove_file(archive)?;
        Ok(Ok(built))
    }
}

impl Builder for Docker {
    fn name(&self) -> &'static str {
        "docker 20.10"
    }

    fn knows(&self, case: &Case) -> bool {
        case.since.is_none()
    }

    fn build(&self, case: &Case, context: &Path) -> Result<Outcome> {
        Ok(match self.image(case, context)? {
            Ok(built) => Outcome::Image(built.beyond(&self.base)),
            Err(said) => Outcome::Rejected(said),
        })
    }
}
