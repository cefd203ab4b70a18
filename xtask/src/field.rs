//! The ground on which all run: a loop-mounted ext4, the base images, the built binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

const IMAGE_BYTES: u64 = 16 << 30;
/// Memory that is left alone when the rest is touched.
const RESERVE: usize = 1 << 30;
const PAGE: usize = 4096;

/// How kiln is compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As it is given to people.
    Release,
    /// As a developer has it already.
    Dev,
}

/// Everything a measurement or a comparison needs; unmounted and removed on drop.
pub(crate) struct Field {
    kiln: PathBuf,
    config: PathBuf,
    image: PathBuf,
    mount: PathBuf,
}

impl Field {
    /// Builds kiln, serves the base images and mounts the ground.
    pub(crate) fn new(root: &Path, profile: Profile) -> Result<Self> {
        let (build, folder) = match profile {
            Profile::Release => {
                (&["release", "--quiet"][..], format!("{}-unknown-linux-gnu/release", std::env::consts::ARCH))
            }
            Profile::Dev => (&["build", "--quiet", "--package", "kiln-cli"][..], "debug".to_owned()),
        };
        run(Command::new("cargo").args(build).current_dir(root))?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let kiln = target.join(folder).join("kiln");
        let config = base_images(root, &kiln)?;
        let base = std::env::temp_dir().join(format!("kiln-field-{}", std::process::id()));
        let field = Field { kiln, config, image: base.with_extension("ext4"), mount: base };
        field.mount_fresh()?;
        Ok(field)
    }

    fn mount_fresh(&self) -> Result<()> {
        fs::File::create(&self.image)?.set_len(IMAGE_BYTES)?;
        fs::create_dir_all(&self.mount)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&self.image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount))
    }

    /// The binary measured.
    pub(crate) fn kiln(&self) -> &Path {
        &self.kiln
    }

    /// The configuration by which kiln finds the base images.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// An example of one of the crates, built as `cargo release` builds kiln and beside it.
    pub(crate) fn example(&self, root: &Path, package: &str, name: &str) -> Result<PathBuf> {
        let mut build = Command::new("cargo");
        build.args([
            "build",
            "--quiet",
            "--release",
            "--target",
            "host-tuple",
            "--config",
            ".cargo/release.toml",
        ]);
        run(build.args(["--package", package, "--example", name]).current_dir(root))?;
        Ok(self.kiln.with_file_name("examples").join(name))
    }

    /// A folder on the ground, fresh where it was not there.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.mount.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// kiln on a state root of this ground.
    pub(crate) fn command(&self, state: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.kiln);
        command.args(args).env("KILN_ROOT", self.mount.join(state)).env("KILN_CONFIG", &self.config);
        command
    }

    /// The registry that has the base images.
    pub(crate) fn registry(&self) -> Result<String> {
        let text = fs::read_to_string(&self.config)?;
        let mirror =
            text.lines().find_map(|l| l.strip_prefix("mirrors = [\"")).and_then(|l| l.strip_suffix("\"]"));
        mirror.map(str::to_owned).context("the configuration names no mirror")
    }

    pub(crate) fn describe(&self) -> String {
        format!("a fresh {} GiB ext4 with journal, loop-mounted", IMAGE_BYTES >> 30)
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        // The sync behind the last command may hold a root for a moment.
        for _ in 0..100 {
            let unmounted = Command::new("umount").arg("--recursive").arg(&self.mount).output();
            if unmounted.is_ok_and(|output| output.status.success()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = fs::remove_dir(&self.mount);
        let _ = fs::remove_file(&self.image);
    }
}

/// Uses every free page of memory once, but for a reserve.
pub(crate) fn touch_free_memory() -> Result<()> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let free =
        text.lines().find_map(|l| l.strip_prefix("MemFree:")).and_then(|l| l.split_whitespace().next());
    let bytes = free.context("`/proc/meminfo` has no `MemFree`")?.parse::<usize>()? << 10;
    let mut memory = vec![0_u8; bytes.saturating_sub(RESERVE)];
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
    Ok(())
}

/// Waits until everything written so far is on the disk.
pub(crate) fn settle() -> Result<()> {
    run(&mut Command::new("sync"))
}

/// The configuration of `dev/base-images`, or the one by which tests find theirs.
fn base_images(root: &Path, kiln: &Path) -> Result<PathBuf> {
    if let Some(config) = std::env::var_os("KILN_TEST_CONFIG") {
        return Ok(PathBuf::from(config));
    }
    let up = Command::new(root.join("dev/base-images")).arg("up").env("KILN", kiln).output()?;
    if !up.status.success() {
        bail!("dev/base-images up failed: {}", String::from_utf8_lossy(&up.stderr));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&up.stdout).trim()))
}

/// Runs to the end; an error shows what it said.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = said.lines().rev().take(5).collect();
        bail!("{:?} ended with {}: {}", command.get_program(), output.status, tail.join(" | "));
    }
    Ok(())
}
