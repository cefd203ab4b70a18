//! Commands on images.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ListFormat;
use super::build::BuildArgs;
use super::container::InspectArgs;

/// Works with images.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln image ls\n  kiln image prune -a")]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    pub(crate) command: Group,
}

/// `kiln image …`
#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    #[command(name = "ls", visible_alias = "list")]
    Ls(ListArgs),
    Prune(PruneArgs),
    #[command(visible_alias = "remove")]
    Rm(RemoveArgs),
    Build(Box<BuildArgs>),
    Pull(PullArgs),
    Push(PushArgs),
    Tag(TagArgs),
    Save(SaveArgs),
    Load(LoadArgs),
    Import(ImportArgs),
    Rebase(RebaseArgs),
    History(HistoryArgs),
    Inspect(InspectArgs),
}

/// Lists images.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kiln images\n  kiln images --format '{{.Repository}}:{{.Tag}} {{.Size}}'"
)]
pub(crate) struct ListArgs {
    /// Accepted; there are no hidden images
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Show the digest that a registry knows the image by
    #[arg(long)]
    pub(crate) digests: bool,
    /// Only those with `dangling=`, `label=` or `reference=`
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    pub(crate) filters: Vec<String>,
    #[command(flatten)]
    pub(crate) output: ListFormat,
    /// Only this repository, or this repository and tag
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) repository: Option<String>,
}

/// Fetches images from registries.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln pull nginx\n  kiln pull --platform linux/arm64 debian:bookworm")]
pub(crate) struct PullArgs {
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Print the name at the end and nothing else
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Names
    #[arg(required = true, value_name = "NAME[:TAG|@DIGEST]")]
    pub(crate) images: Vec<String>,
}

/// Sends images to registries.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln push registry.example/team/my-app:1")]
pub(crate) struct PushArgs {
    /// Only the image for this platform, of several [default: all that are here]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Print the name at the end and nothing else
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Names
    #[arg(required = true, value_name = "NAME[:TAG]")]
    pub(crate) images: Vec<String>,
}

/// Gives an image another name.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln tag my-app registry.example/team/my-app:1")]
pub(crate) struct TagArgs {
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) source: String,
    /// The further name
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) target: String,
}

/// Removes images, or names of them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln rmi my-app:old\n  kiln rmi -f $(kiln images -q)")]
pub(crate) struct RemoveArgs {
    /// Remove every name of an id, and images that stopped containers use
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

/// Writes images to a tar archive.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kiln save -o my-app.tar my-app\n  kiln save my-app | gzip > my-app.tar.gz"
)]
pub(crate) struct SaveArgs {
    /// The file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Only the image for this platform, of several [default: all that are here]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

/// Reads images from a tar archive.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln load -i my-app.tar\n  gunzip -c my-app.tar.gz | kiln load")]
pub(crate) struct LoadArgs {
    /// The file [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Makes an image of one layer from a tar of a root filesystem.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kiln import rootfs.tar my-base\n  kiln import -c 'CMD [\"sh\"]' - my-base < rootfs.tar"
)]
pub(crate) struct ImportArgs {
    /// Dockerfile instruction for the image's configuration
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub(crate) changes: Vec<String>,
    /// Comment in the image's history
    #[arg(short, long)]
    pub(crate) message: Option<String>,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// The file, or `-` for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Name for the image
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
}

/// Puts an image on another base, without a build.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kiln rebase my-app --old-base debian:12.1 --new-base debian:12.2 -t my-app:fixed\n  kiln rebase --pull my-app"
)]
pub(crate) struct RebaseArgs {
    /// The base that it was built on [default: what its annotations say]
    #[arg(long, value_name = "IMAGE")]
    pub(crate) old_base: Option<String>,
    /// The base that it is to be on [default: the base's name in its annotations]
    #[arg(long, value_name = "IMAGE")]
    pub(crate) new_base: Option<String>,
    /// Name for the result; may be given several times [default: the image's own name]
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    pub(crate) tags: Vec<String>,
    /// Only the image for this platform, of several [default: all that are here]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Ask the registry for the new base, even if one of that name is here
    #[arg(long)]
    pub(crate) pull: bool,
    /// Print the id and nothing else
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}

/// Shows how an image was made.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kiln history my-app\n  kiln history --no-trunc --format '{{.CreatedBy}}' my-app"
)]
pub(crate) struct HistoryArgs {
    /// Which image of an index [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    #[command(flatten)]
    pub(crate) output: ListFormat,
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}

/// Removes images that nothing uses.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kiln image prune -f\n  kiln image prune -a")]
pub(crate) struct PruneArgs {
    /// Those with a name, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}
