//! `kiln build`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum as _;
use kiln_engine::build::verify::Verified;
use kiln_engine::build::{
    BuildRequest, BuildResult, BuiltImage, Entitlements, Export, FETCHING_VARIABLES, OtherStage, Outside,
    Squash,
};
use kiln_engine::oci::Reference;
use kiln_engine::{CancellationToken, Error, Result};

use super::interruption::Interruption;
use super::{OK, verify};
use crate::app::{App, block_on};
use crate::args::build::{BuildArgs, Progress, SquashWhich, VerifyFormat};
use crate::render::metadata;
use crate::render::progress::BuildProgress;
use crate::terminal;
use crate::values::call::{self, Method};
use crate::values::output::{self, LOCAL_DELETE};
use crate::values::target::{self, Target};
use crate::values::{
    annotation, assignment, attest, context, platform, quantity, run_option, secret, ssh, wrong,
};

/// The argument that says which time new files and images get, as reproducible-builds.org defines it.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The variable by which buildx is told to put warnings into the metadata file.
const METADATA_WARNINGS: &str = "BUILDX_METADATA_WARNINGS";

pub(super) fn run(args: &BuildArgs, app: &App) -> Result<u8> {
    let request = request(args)?;
    let engine = app.engine()?;
    let kind = kind(args, app)?;
    let progress = Arc::new(BuildProgress::start(kind, app.debug())?);
    let call = call::parse(if args.check { "check" } else { &args.call })?;
    if call.method != Method::Build {
        return super::call::run(call, request, &engine, &progress);
    }
    let (builder, watched, twice) = (engine.clone(), progress.clone(), args.verify.is_some());
    let built = block_on(async move {
        let cancel = CancellationToken::new();
        tokio::spawn(cancel_on_signals(cancel.clone()));
        match twice {
            true => builder.verify(request, watched, cancel).await,
            false => builder.build(request, watched, cancel).await.map(Verified::Same),
        }
    });
    let log_was_shown = progress.finish();
    let built = built.map_err(|error| if log_was_shown { error.without_log() } else { error })?;
    let built = match (built, args.verify) {
        (Verified::Different(found), format) => return verify::different(*found, format),
        (Verified::Same(built), None) => built,
        (Verified::Same(built), Some(format)) => verify::same(built, format)?,
    };
    finish(args, kind, &built, &progress)
}

/// How progress is shown: as the options say, then as the environment says. A trace on the terminal leaves no place for
/// lines that are drawn again.
fn kind(args: &BuildArgs, app: &App) -> Result<Progress> {
    let variable = || std::env::var("BUILDKIT_PROGRESS").ok().filter(|kind| !kind.is_empty());
    let asked = match (args.quiet, args.progress) {
        (true, _) => Progress::Quiet,
        (false, Progress::Auto) => match variable() {
            None => Progress::Auto,
            Some(kind) => Progress::from_str(&kind, true).or_else(|_| {
                wrong(
                    "BUILDKIT_PROGRESS",
                    &kind,
                    "it is `auto`, `tty`, `plain`, `quiet`, `none` or `rawjson`",
                )
            })?,
        },
        (false, kind) => kind,
    };
    Ok(if asked == Progress::Auto && app.traces() { Progress::Plain } else { asked })
}

/// Gives the build up at a signal; where none can be listened to, kiln just ends.
async fn cancel_on_signals(cancel: CancellationToken) {
    if let Ok(signals) = Interruption::listen() {
        signals.cancel(cancel).await;
    }
}

/// What scripts want: the id and more in files, the id on standard output where that was asked for.
fn finish(args: &BuildArgs, kind: Progress, built: &BuildResult, progress: &BuildProgress) -> Result<u8> {
    if let Some(file) = &args.metadata_file {
        let asked = std::env::var_os(METADATA_WARNINGS).is_some_and(|value| value == "1" || value == "true");
        let warnings = asked.then(|| progress.warnings());
        write(file, &metadata::render(built, warnings.as_deref()))?;
    }
    // Of several targets each has an id; several outputs of one are the same image in other forms.
    let ids: Vec<&str> = match args.targets.len() > 1 {
        true => built.images.iter().map(|image| image.id().as_str()).collect(),
        false => built.image().map(|image| image.id().as_str()).into_iter().collect(),
    };
    if ids.is_empty() {
        return Ok(OK);
    }
    if let Some(file) = &args.iidfile {
        write(file, &ids.join("\n"))?;
    }
    match kind {
        // The object that tells of both builds is all of standard output.
        _ if args.verify == Some(VerifyFormat::Json) => {}
        Progress::Quiet => terminal::say(&ids.join("\n"))?,
        Progress::None => {}
        _ => built.images.iter().filter(|image| image.pushed).try_for_each(say_pushed)?,
    }
    Ok(OK)
}

fn write(file: &Path, text: &str) -> Result<()> {
    let wrong = |error| Error::invalid(format!("cannot write `{}`", file.display())).caused_by(error);
    std::fs::write(file, text).map_err(wrong)
}

fn say_pushed(image: &BuiltImage) -> Result<()> {
    let digest = &image.descriptor.digest;
    image.names.iter().try_for_each(|name| terminal::say(&format!("Pushed: {} ({digest})", name.familiar())))
}

fn request(args: &BuildArgs) -> Result<BuildRequest> {
    let mut targets = target::parse(&args.targets, &args.tags)?.into_iter();
    let first = targets.next().unwrap_or_default();
    let others: Vec<Target> = targets.collect();
    if !others.is_empty() && !args.outputs.is_empty() {
        return Err(Error::invalid("`-o` takes one target; several become images in the store")
            .with_hint("`--push` sends each to the registry of its names"));
    }
    let (dockerfile, dockerfile_input) = context::dockerfile(args.file.as_deref(), &args.context)?;
    let build_args = build_args(&args.build_args)?;
    Ok(BuildRequest {
        context: context::context(&args.context),
        dockerfile,
        syntax_is_chosen: false,
        dockerfile_input,
        outside: Outside::default(),
        named_contexts: context::named(&args.build_contexts)?,
        target: first.stage,
        epoch: epoch(&build_args),
        build_args,
        labels: args.labels.iter().map(|label| assignment::pair(label)).collect(),
        platforms: platform::all_or_default(&args.platforms),
        no_cache: args.no_cache,
        no_cache_filter: args.no_cache_filter.clone(),
        explain: args.explain,
        pull: args.pull,
        jobs: args.jobs,
        network: run_option::network(args.network.as_deref().unwrap_or("default"))?,
        add_hosts: args.add_hosts.iter().map(|host| assignment::host(host)).collect::<Result<_>>()?,
        secrets: args
            .secrets
            .iter()
            .map(|text| secret::parse(text, &|name| std::env::var_os(name)))
            .collect::<Result<_>>()?,
        ssh: args.ssh.iter().map(|text| ssh::parse(text, ssh_agent())).collect::<Result<_>>()?,
        environment: fetching(),
        allow: allow(&args.allow)?,
        shm_size: args.shm_size.as_deref().map_or(Ok(0), |text| quantity::bytes("--shm-size", text))?,
        ulimits: args.ulimits.clone(),
        attest: attest::parse(&args.attest, args.provenance.as_deref(), args.sbom.as_deref())?,
        exports: exports(args, &first.names)?,
        others: others.into_iter().map(|other| stage(args, other)).collect::<Result<_>>()?,
    })
}

/// What `git` needs of the environment.
pub(super) fn fetching() -> BTreeMap<String, String> {
    let names = FETCHING_VARIABLES.into_iter().chain(["PATH"]);
    names.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect()
}

/// The values of ARGs. As with buildx, `SOURCE_DATE_EPOCH` of the environment is one of them.
pub(super) fn build_args(texts: &[String]) -> Result<BTreeMap<String, String>> {
    let epoch = std::env::var(EPOCH).ok().filter(|text| !text.is_empty());
    let mut arguments: BTreeMap<_, _> = epoch.into_iter().map(|text| (EPOCH.to_owned(), text)).collect();
    for text in texts {
        if text.starts_with('=') {
            return wrong("--build-arg", text, "it has no name");
        }
        if let Some(variable) = assignment::from_environment(text)? {
            let (name, value) = assignment::pair(&variable);
            arguments.insert(name, value);
        }
    }
    Ok(arguments)
}

fn allow(grants: &[String]) -> Result<Entitlements> {
    let mut allow = Entitlements::default();
    // That one is for us and not for the build.
    for text in grants.iter().filter(|text| *text != LOCAL_DELETE) {
        allow.grant(text).or_else(|error| wrong("--allow", text, error))?;
    }
    Ok(allow)
}

/// The socket of the agent that was started for whoever typed the command.
fn ssh_agent() -> Option<PathBuf> {
    std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()).map(PathBuf::from)
}

/// The time of what is new, where the build arguments say one; that of a context or a stage is found when it is there.
fn epoch(build_args: &BTreeMap<String, String>) -> Option<i64> {
    build_args.get(EPOCH)?.parse().ok()
}

fn stage(args: &BuildArgs, target: Target) -> Result<OtherStage> {
    Ok(OtherStage { stage: target.stage.unwrap_or_default(), exports: exports(args, &target.names)? })
}

/// What becomes of the result: images get the names and annotations of the command line beside their own.
fn exports(args: &BuildArgs, names: &[Reference]) -> Result<Vec<Export>> {
    let mut exports = output::exports(&args.outputs, args.push, args.load)?;
    output::check_deletes(&exports, args.allow.iter().any(|grant| grant == LOCAL_DELETE))?;
    let annotations = args.annotations.iter().map(|text| annotation::parse(text));
    let annotations = annotations.collect::<Result<Vec<_>>>()?;
    let mut images = exports.iter_mut().filter_map(Export::image_mut).peekable();
    if images.peek().is_none() && (!annotations.is_empty() || args.squash.is_some()) {
        let message = "`--annotation` and `--squash` are for images, and no output is one";
        return Err(Error::invalid(message).with_hint("`--load` keeps an image beside other outputs"));
    }
    for image in images {
        image.names = names.iter().chain(&image.names).cloned().collect();
        annotations.iter().flatten().for_each(|annotation| image.annotations.add(annotation.clone()));
        image.squash = args.squash.map(|which| match which {
            SquashWhich::New => Squash::New,
            SquashWhich::All => Squash::All,
        });
    }
    Ok(exports)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use kiln_engine::build::Context;

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(line: &str) -> Result<BuildRequest> {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Build(args) => request(&args.0),
            other => panic!("not a build: {other:?}"),
        }
    }

    #[test]
    fn each_option_reaches_the_engine() {
        let line = "kiln build -t a -t b:2 -f x/Dockerfile --build-arg V=1 --target t --no-cache --pull \
                    --platform linux/arm64,linux/amd64 --platform linux/386 --label l=m --jobs 3 --add-host h:1.2.3.4 --network none \
                    --secret id=s,src=f --ssh a=b --allow network.host --shm-size 1m --ulimit nofile=1:2 .";
        let request = parse(line).unwrap();
        assert!(matches!(&request.context, Context::Folder(path) if path == Path::new(".")));
        assert_eq!(request.dockerfile, Some(PathBuf::from("x/Dockerfile")));
        assert_eq!(request.build_args["V"], "1");
        assert_eq!(request.labels["l"], "m");
        assert_eq!((request.target.as_deref(), request.jobs), (Some("t"), Some(3)));
        assert!(request.no_cache && request.pull);
        assert_eq!(request.platforms, ["linux/arm64", "linux/amd64", "linux/386"]);
        assert_eq!((request.secrets[0].id.as_str(), request.ssh[0].id.as_str()), ("s", "a"));
        assert_eq!((request.shm_size, request.ulimits.join(" ")), (1 << 20, "nofile=1:2".to_owned()));
        assert_ne!(request.allow, Entitlements::default());
        let [Export::Image { image, .. }] = &request.exports[..] else { panic!("{:?}", request.exports) };
        assert_eq!(
            image.names.iter().map(Reference::to_string).collect::<Vec<_>>(),
            ["docker.io/library/a:latest", "docker.io/library/b:2"]
        );
    }

    #[test]
    fn an_output_takes_the_place_of_the_store() {
        let request = parse("kiln build -t a -o type=oci,dest=x.tar -o out .").unwrap();
        assert!(
            matches!(&request.exports[..], [Export::Oci { image, .. }, Export::Local { .. }] if image.names.len() == 1)
        );
    }
}
