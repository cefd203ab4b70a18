//! `kiln build`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  kiln build -t my-app .
  kiln build -t my-app:1 -t registry.example/team/my-app:1 --build-arg VERSION=1 .
  kiln build -f docker/Dockerfile --target test --progress plain .
  kiln build --target app,test -t app=my-app -t test=my-app:test .
  kiln build --platform linux/amd64,linux/arm64 -t registry.example/team/my-app:1 --push .
  kiln build --secret id=npm,src=$HOME/.npmrc --ssh default .
  kiln build -o type=local,dest=out .
  kiln build -t my-app -o type=oci,dest=app.tar,compression=zstd,rewrite-timestamp=true --load .
  kiln build -t registry.example/app:1 --push --annotation org.opencontainers.image.revision=abc --metadata-file out.json .
  kiln build --verify .
  kiln build --check .";

/// Builds an image from a Dockerfile.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BuildArgs {
    /// Name for the image, with an optional tag; may be given several times. With several targets each name says whose it is:
    /// `-t app=my-app -t test=my-app:test`
    #[arg(short, long = "tag", value_name = "[STAGE=]NAME[:TAG]")]
    pub(crate) tags: Vec<String>,
    /// The Dockerfile, its URL, or `-` for one on standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "PATH|URL")]
    pub(crate) file: Option<PathBuf>,
    /// Value of an ARG; without `=VALUE` taken from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) build_args: Vec<String>,
    /// The stage to build; several, separated by commas or given several times, are built in one go and become an image each
    #[arg(long = "target", value_name = "STAGE", value_delimiter = ',')]
    pub(crate) targets: Vec<String>,
    /// Run every step, whatever is cached
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Stages whose steps run whatever is cached, by name or number, separated by commas or given several times
    #[arg(long, value_name = "STAGE", value_delimiter = ',', conflicts_with = "no_cache")]
    pub(crate) no_cache_filter: Vec<String>,
    /// Say at the end why steps ran: the file, variable, command or base image that is not as it was
    #[arg(long)]
    pub(crate) explain: bool,
    /// Ask registries for newer base images, even if they are here
    #[arg(long)]
    pub(crate) pull: bool,
    /// Platforms to build for, separated by commas or given several times; several become an index [default: this machine's]
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    pub(crate) platforms: Vec<String>,
    /// How progress is shown; `auto` is what BUILDKIT_PROGRESS says, if it says something
    #[arg(long, value_enum, default_value_t = Progress::Auto, value_name = "KIND")]
    pub(crate) progress: Progress,
    /// Print the image's id and nothing else
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Write the image's id to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Label for the image
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Steps that run at the same time [default: number of CPUs]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// Where the result goes: `type=image|registry|oci|docker|local|tar|cacheonly` with attributes, or a folder, or `-` for a tar
    /// on standard output; may be given several times [default: the store]
    #[arg(short, long = "output", value_name = "SPEC")]
    pub(crate) outputs: Vec<String>,
    /// What is said about the image: `type=provenance`, `mode=min|max`, `builder-id=URI`, `reproducible=true`; or `type=sbom`;
    /// and `form=index` for entries of an index instead of referrers
    #[arg(long, value_name = "SPEC")]
    pub(crate) attest: Vec<String>,
    /// Say how the image came to be: `min`, `max`, or the keys of `--attest type=provenance`
    #[arg(long, value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) provenance: Option<String>,
    /// List the packages in the image
    #[arg(long, value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) sbom: Option<String>,
    /// Push the image to the registry of each of its names when it is built
    #[arg(long)]
    pub(crate) push: bool,
    /// Keep the image in the store beside what `-o` says
    #[arg(long)]
    pub(crate) load: bool,
    /// Annotation for the image; LEVEL is `manifest`, `manifest-descriptor`, `index` or `index-descriptor`
    #[arg(long = "annotation", value_name = "[LEVEL[[PLATFORM]]:]KEY=VALUE")]
    pub(crate) annotations: Vec<String>,
    /// Make one layer of those that the build made, or of all
    #[arg(long, value_enum, value_name = "WHICH", num_args = 0..=1, require_equals = true, default_missing_value = "new")]
    pub(crate) squash: Option<SquashWhich>,
    /// Write what scripts want to know of the result to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// What is asked of the Dockerfile: `build`, `check`, `outline` or `targets`, and `,format=json`
    #[arg(long, value_name = "METHOD", default_value = "build")]
    pub(crate) call: String,
    /// The same as `--call check`
    #[arg(long, conflicts_with = "call")]
    pub(crate) check: bool,
    /// Build twice from nothing, and fail where the two differ; `json` prints what was found
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "text",
        conflicts_with_all = ["check", "call"]
    )]
    pub(crate) verify: Option<VerifyFormat>,
    /// Network of RUN steps
    #[arg(long, value_name = "MODE", value_parser = ["default", "bridge", "host", "none"])]
    pub(crate) network: Option<String>,
    /// Secret for RUN steps: `id=NAME`, then `src=FILE` or `env=VARIABLE`
    #[arg(long = "secret", value_name = "SPEC")]
    pub(crate) secrets: Vec<String>,
    /// SSH agent for RUN steps: yours, one by its socket, or keys
    #[arg(long, value_name = "ID[=SOCKET|=KEY,…]")]
    pub(crate) ssh: Vec<String>,
    /// Let RUN steps do more: `network.host`, `security.insecure`, `device`, `device=NAME`
    #[arg(long, value_name = "GRANT")]
    pub(crate) allow: Vec<String>,
    /// Size of `/dev/shm` of RUN steps
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<String>,
    /// Resource limit of RUN steps
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimits: Vec<String>,
    /// Line for `/etc/hosts` of RUN steps
    #[arg(long = "add-host", value_name = "NAME:IP")]
    pub(crate) add_hosts: Vec<String>,
    /// What stands in for a stage or image (`NAME::OS/ARCH`: for one platform): a folder, a git or web URL,
    /// `docker-image://REF` or `oci-layout://PATH[:TAG]`
    #[arg(long = "build-context", value_name = "NAME=PLACE")]
    pub(crate) build_contexts: Vec<String>,
    /// The files that COPY and ADD may take: a folder, the URL of a git repository or a tar, or `-` for a tar or a
    /// Dockerfile on standard input
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: String,
}

/// Which layers become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SquashWhich {
    /// Those that the build made
    New,
    /// All, those of the base too
    All,
}

/// How a build's progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// `tty` on a terminal, `plain` elsewhere
    Auto,
    /// Steps in flight, redrawn
    Tty,
    /// Every line, a step's together
    Plain,
    /// The image's id at the end
    Quiet,
    /// Nothing
    None,
    /// One JSON object a change, as BuildKit writes them
    Rawjson,
}

/// How it is said what two builds came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VerifyFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}
