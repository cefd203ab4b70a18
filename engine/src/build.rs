//! Builds: a Dockerfile and a context to an image.
//!
//! ```text
//! text --parse--> Dockerfile --plan--> base images --resolve--> configurations --lower--> graph --build--> image
//! ```

mod attest;
mod bases;
pub mod checks;
mod container;
mod contexts;
pub mod debug;
mod epoch;
pub(crate) mod failure;
mod findings;
mod given;
mod input;
mod look_alike;
mod named;
mod oci_layout;
mod outside;
mod platforms;
mod prepared;
mod reading;
pub mod received;
mod resolve_image;
mod secrets;
mod source;
mod ssh;
mod syntax;
pub mod verify;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use kiln_builder::{BuildJob, BuildOutput, Product, Session, Target};
use kiln_graph::{ExtraHost, Network};
use kiln_oci::{Descriptor, Digest, ImageConfig, Platform, Reference};
use kiln_parser::plan::undeclared_args;
use kiln_parser::{
    BaseConfigs, Diagnostic, Dockerfile, Lowered, Lowering, NoCache, Plan, PlanOptions, SourceFile,
};

pub use container::{BuildContainer, BuildProcess, SecretVariable};
pub use contexts::remote_source;
pub use findings::excerpt;
pub use input::{Context, Input};
pub use kiln_builder::attest::{Attest, Form as AttestForm, PROVENANCE_FILE, Provenance};
pub use kiln_builder::export::annotations::{Annotation, AnnotationError, AnnotationLevel};
pub use kiln_builder::export::attributes::{self as export_attributes, AttributeError, Streams};
pub use kiln_builder::ops::git::PASSED as FETCHING_VARIABLES;
pub use kiln_builder::provenance::{Mode as ProvenanceMode, Options as ProvenanceOptions, Origin};
pub use kiln_builder::ssh::SshAgent;
pub use kiln_builder::tree::{TakeTree, Tree, TreeEntry, TreeNode};
pub use kiln_builder::{
    ContextSource, Said, Secrets, SessionError, SshAgents, Target as GraphTarget, Wanted,
};
pub use kiln_builder::{
    Destination, Entitlements, Export, ImageOptions, LocalMode, Place, Squash, UnknownGrant,
};
pub use outside::{Outside, SourcePolicy};
pub use prepared::Prepared;
pub use reading::{BuiltBase, BuiltFiles};
pub use resolve_image::FoundImage;
pub use secrets::{SecretSource, SecretValue};
pub use source::Source;
pub use ssh::SshSource;
pub use syntax::is_built_in;

use crate::containers::NetworkMode;
use crate::progress::ProgressSink;
use crate::{CancellationToken, Engine, Error, Result};
use findings::Findings;
use platforms::Platforms;
use secrets::SecretFiles;
use ssh::Agents;

/// What a build is asked to do.
#[derive(Debug, Default)]
pub struct BuildRequest {
    /// The files that COPY and ADD may take.
    pub context: Context,
    /// The Dockerfile, or its URL; `None` is `Dockerfile` in the context. A relative one is in the context, where that is no
    /// folder.
    pub dockerfile: Option<PathBuf>,
    /// Whether the file's own choice of a frontend (`# syntax=`) is left alone, because somebody has followed it already.
    pub syntax_is_chosen: bool,
    /// The text of the Dockerfile, instead of a file.
    pub dockerfile_input: Option<Input>,
    /// What is had from whoever asked, instead of from this machine.
    pub outside: Outside,
    /// What stands in for stages and images: a name, and a folder, a URL, `docker-image://…` or `oci-layout://…`.
    pub named_contexts: Vec<(String, String)>,
    /// The stage to build; `None` is the last.
    pub target: Option<String>,
    /// Values of ARGs.
    pub build_args: BTreeMap<String, String>,
    /// Labels for the image.
    pub labels: BTreeMap<String, String>,
    /// The platforms to build for, each `os/architecture[/variant]`; none is this machine's, or the base image's where that is
    /// there for one alone. Several become an index.
    pub platforms: Vec<String>,
    /// Run every step, whatever is remembered.
    pub no_cache: bool,
    /// Stages whose steps run whatever is remembered, by name or number.
    pub no_cache_filter: Vec<String>,
    /// Tell why steps run that an earlier build might have spared.
    pub explain: bool,
    /// Ask registries for base images that are here.
    pub pull: bool,
    /// Steps that run at the same time; `None` is the number of CPUs.
    pub jobs: Option<usize>,
    /// The network of RUN steps.
    pub network: NetworkMode,
    /// `(name, address)` lines for `/etc/hosts` of RUN steps.
    pub add_hosts: Vec<(String, String)>,
    /// Secrets that RUN steps may ask for.
    pub secrets: Vec<SecretSource>,
    /// SSH agents that RUN steps may ask for.
    pub ssh: Vec<SshSource>,
    /// What programs that fetch for the build find in their environment: `PATH`, and proxies.
    pub environment: BTreeMap<String, String>,
    /// What RUN steps may do beyond the ordinary; the network of the host is allowed too where it is asked for above.
    pub allow: Entitlements,
    /// Bytes of `/dev/shm` of RUN steps; 0 is the default.
    pub shm_size: u64,
    /// Resource limits of RUN steps as `name=soft[:hard]`.
    pub ulimits: Vec<String>,
    /// Replaces the times of what is new, in seconds since 1970. Without it, the time of the context that the build
    /// argument `SOURCE_DATE_EPOCH` names, `context` or a named one, or of a stage: that of the commit, or of the download.
    pub epoch: Option<i64>,
    /// What is said about the images.
    pub attest: Attest,
    /// What becomes of the result.
    pub exports: Vec<Export>,
    /// Further stages to build in the same go.
    pub others: Vec<OtherStage>,
}

/// A further stage of a build.
#[derive(Debug)]
pub struct OtherStage {
    /// Its name or number.
    pub stage: String,
    /// What becomes of its result.
    pub exports: Vec<Export>,
}

/// What a build made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildResult {
    /// The images among the exports, in order. Exports that agree on how they are made have the same.
    pub images: Vec<BuiltImage>,
    /// What was said of the images that were made, whatever became of them.
    pub statements: Vec<Said>,
}

/// An image that a build made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// What points to its manifest, or to the index of a build for several platforms.
    pub descriptor: Descriptor,
    /// The digest of its configuration; an index has none.
    pub config: Option<Digest>,
    /// The names that it got: in the store, at registries or in an archive.
    pub names: Vec<Reference>,
    /// Whether registries have it.
    pub pushed: bool,
}

impl BuildResult {
    /// The image that scripts want to know of: one that others can pull before one that is here only.
    pub fn image(&self) -> Option<&BuiltImage> {
        self.images.iter().find(|image| image.pushed).or(self.images.first())
    }
}

impl BuiltImage {
    /// Its id: the digest of its configuration, of an index its own.
    pub fn id(&self) -> &Digest {
        self.config.as_ref().unwrap_or(&self.descriptor.digest)
    }
}

impl BuildRequest {
    /// What becomes of the results of all its stages.
    fn all_exports(&self) -> impl Iterator<Item = &Export> {
        self.exports.iter().chain(self.others.iter().flat_map(|other| &other.exports))
    }
}

/// Gives each result of `job` the exports that the request has for it.
fn hand_out(request: BuildRequest, job: &mut BuildJob) {
    job.exports = request.exports;
    for (product, other) in job.others.iter_mut().zip(request.others) {
        product.exports = other.exports;
    }
}

/// A Dockerfile understood: each platform's plan and graph, and the base images behind them.
struct Planned {
    dockerfile: Dockerfile,
    platforms: Platforms,
    plans: Vec<Plan>,
    configs: BaseConfigs,
    lowered: Vec<Lowered>,
}

impl Engine {
    /// Builds. When it returns, in whichever way, nothing of it runs any more.
    pub async fn build(
        &self,
        request: BuildRequest,
        progress: Arc<dyn ProgressSink>,
        cancel: CancellationToken,
    ) -> Result<BuildResult> {
        check_names(request.all_exports())?;
        let prepared = tokio::select! {
            prepared = self.prepare(&request, &progress) => prepared?,
            () = cancel.cancelled() => return Err(failure::cancelled()),
        };
        self.build_prepared(&prepared, request, progress, cancel).await
    }

    /// Builds what was prepared before, or sent as a graph. When it returns, in whichever way, nothing of it runs any more.
    pub async fn build_prepared(
        &self,
        prepared: &Prepared,
        request: BuildRequest,
        progress: Arc<dyn ProgressSink>,
        cancel: CancellationToken,
    ) -> Result<BuildResult> {
        check_names(request.all_exports())?;
        let mut job = self.job(&request, prepared, progress, cancel)?;
        job.attest = attest::attest(&request, prepared, prepared.began)?;
        hand_out(request, &mut job);
        let built = self.builder().build(job).await;
        // The steps that a failed build completed are worth keeping too.
        self.sync_later()?;
        let built = built.map_err(|error| failure::of_build(error, &prepared.source))?;
        Ok(result(built))
    }

    fn job(
        &self,
        request: &BuildRequest,
        prepared: &Prepared,
        progress: Arc<dyn ProgressSink>,
        cancel: CancellationToken,
    ) -> Result<BuildJob> {
        let session = Session { contexts: Arc::new(prepared.contexts.clone()), ..session(request)? };
        // The targets of the first stage, then those of each other stage.
        let mut stages = prepared.targets.chunks(prepared.platforms).map(<[Target]>::to_vec);
        Ok(BuildJob {
            definition: prepared.definition.clone(),
            targets: stages.next().unwrap_or_default(),
            multi_platform: prepared.multi_platform,
            exports: Vec::new(),
            others: stages.map(|targets| Product { targets, exports: Vec::new() }).collect(),
            attest: Attest::default(),
            session,
            allow: allowed(request),
            progress,
            jobs: request
                .jobs
                .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
                .max(1),
            no_cache: request.no_cache,
            explain: request.explain,
            epoch: prepared.epoch,
            cancel,
        })
    }

    /// Everything before the first step runs: text to graph, with base images looked up. Warnings are told, even if
    /// an error follows.
    pub async fn prepare(
        &self,
        request: &BuildRequest,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<Prepared> {
        let began = SystemTime::now();
        let source = self.source(request, progress).await?;
        Ok(Prepared { began, ..self.prepare_of(request, &source, progress).await? })
    }

    /// The same of what was read before.
    async fn prepare_of(
        &self,
        request: &BuildRequest,
        source: &Source,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<Prepared> {
        let mut findings = Findings::default();
        let planned = self.plan(request, source, false, progress, &mut findings).await;
        findings.tell(progress.as_ref(), &source.file);
        let Planned { platforms, lowered, .. } = planned?;
        let (definition, targets) = platforms.merge(lowered);
        Ok(Prepared {
            source: source.file.clone(),
            definition: Arc::new(definition),
            targets,
            platforms: platforms.count(),
            multi_platform: platforms.multi,
            contexts: source.contexts.clone(),
            origin: source.origin.clone(),
            epoch: request.epoch.or(source.time),
            began: SystemTime::now(),
            sent: false,
        })
    }

    /// Understands a Dockerfile; what there is to say of it is in `findings`, errors included.
    async fn plan(
        &self,
        request: &BuildRequest,
        source: &Source,
        all_stages: bool,
        progress: &Arc<dyn ProgressSink>,
        findings: &mut Findings,
    ) -> Result<Planned> {
        let platforms = Platforms::of(request)?;
        let file = &source.file;
        let (dockerfile, diagnostics) = kiln_parser::parse(file);
        syntax::check(&dockerfile, request)?;
        if diagnostics.iter().any(Diagnostic::is_error) {
            findings.add(kiln_parser::lint::check_file(&dockerfile, &request.build_args));
            return Err(findings.fail(diagnostics, file));
        }
        findings.add(diagnostics);
        let mut options = PlanOptions {
            all_stages,
            contexts: source.named.clone(),
            ..plan_options(request, source.ignore.clone())?
        };
        epoch::put(&mut options.build_args, source.time);
        let others = request
            .others
            .iter()
            .map(|other| PlanOptions { target: Some(other.stage.clone()), ..options.clone() });
        let others: Vec<PlanOptions> = others.collect();
        let plans = std::iter::once(&options).chain(&others).flat_map(|stage| platforms.plan_options(stage));
        let plans: Vec<PlanOptions> = plans.collect();
        let plans = plans.iter().map(|options| Plan::new(&dockerfile, options));
        let plans = plans.collect::<std::result::Result<Vec<_>, _>>();
        let plans = plans.map_err(|errors| findings.fail(errors, file))?;
        let mut resolver = bases::Resolver::new(self, request, &platforms, progress.as_ref());
        let mut configs = BaseConfigs::new();
        let mut lowered = resolver.lower(&plans, &mut configs, &dockerfile, file, findings).await?;
        lowered.iter_mut().try_for_each(|lowered| request.outside.decide_all(&mut lowered.definition))?;
        findings.add_of(&lowered);
        findings.add(undeclared_args(&dockerfile, &request.build_args, &configs));
        Ok(Planned { dockerfile, platforms, plans, configs, lowered })
    }
}

/// Refuses to send an image nowhere, before anything is built.
fn check_names<'a>(mut exports: impl Iterator<Item = &'a Export>) -> Result<()> {
    let nameless = |export: &Export| matches!(export, Export::Image { image, place } if place.push && image.names.is_empty());
    match exports.any(nameless) {
        true => Err(Error::invalid("an image that is pushed needs a name")
            .with_hint("`-t REGISTRY/NAME:TAG` gives one")),
        false => Ok(()),
    }
}

fn result(built: BuildOutput) -> BuildResult {
    let images = built.images.into_iter().map(|image| BuiltImage {
        descriptor: image.manifest,
        config: image.config,
        names: image.names,
        pushed: image.pushed,
    });
    BuildResult { images: images.collect(), statements: built.statements }
}

/// What the request offers to a build, contexts aside.
fn session(request: &BuildRequest) -> Result<Session> {
    let outside = &request.outside;
    Ok(Session {
        secrets: match &outside.secrets {
            Some(secrets) => secrets.clone(),
            None => Arc::new(SecretFiles::open(&request.secrets)?),
        },
        ssh: match &outside.ssh {
            Some(agents) => agents.clone(),
            None => Arc::new(Agents::open(&request.ssh)?),
        },
        environment: Arc::new(request.environment.clone()),
        ..Session::empty()
    })
}

/// Whoever asks for the network of the host for the whole build has allowed it, if it is theirs.
fn allowed(request: &BuildRequest) -> Entitlements {
    let mut allow = request.allow.clone();
    if matches!(request.network, NetworkMode::Host) && request.outside.contexts.is_none() {
        allow.grant_host_network();
    }
    allow
}

fn plan_options(request: &BuildRequest, ignore: Vec<String>) -> Result<PlanOptions> {
    let mut options = PlanOptions::new(Platform::host());
    options.target.clone_from(&request.target);
    options.build_args.clone_from(&request.build_args);
    options.labels.clone_from(&request.labels);
    options.no_cache = match (request.no_cache, request.no_cache_filter.is_empty()) {
        (true, _) => NoCache::All,
        (false, true) => NoCache::Off,
        (false, false) => NoCache::Stages(request.no_cache_filter.clone()),
    };
    options.network = match request.network {
        NetworkMode::Bridge => None,
        NetworkMode::Host => Some(Network::Host),
        NetworkMode::None => Some(Network::None),
    };
    let host =
        |(name, address): &(String, String)| ExtraHost { name: name.clone(), address: address.clone() };
    options.extra_hosts = request.add_hosts.iter().map(host).collect();
    options.shm_size = request.shm_size;
    kiln_builder::mounts::rlimits(&request.ulimits).map_err(|cause| failure::of_cause(&cause))?;
    options.ulimits.clone_from(&request.ulimits);
    options.context_exclude = ignore;
    Ok(options)
}

/// The configuration that Dockerfile instructions make on nothing, for `import`.
pub(crate) fn config_of_changes(changes: &[String], platform: &Platform) -> Result<ImageConfig> {
    let file = SourceFile::new("change", format!("FROM scratch\n{}\n", changes.join("\n")));
    let (dockerfile, diagnostics) = kiln_parser::parse(&file);
    if diagnostics.iter().any(kiln_parser::Diagnostic::is_error) {
        return Err(failure::of_diagnostics(&diagnostics, &file));
    }
    let fail = |diagnostics: Vec<_>| failure::of_diagnostics(&diagnostics, &file);
    let plan = Plan::new(&dockerfile, &PlanOptions::new(platform.clone())).map_err(fail)?;
    match plan.lower(&BaseConfigs::new()).map_err(fail)? {
        Lowering::Ready(lowered) if lowered.root.is_none() => Ok(lowered.config),
        _ => Err(Error::invalid("a change of an import can set the configuration and no files")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_make_a_configuration() {
        let changes = ["CMD [\"sh\"]".to_owned(), "ENV A=1".to_owned()];
        let config = config_of_changes(&changes, &Platform::host()).unwrap();
        assert_eq!(config.config.cmd, Some(vec!["sh".to_owned()]));
        assert!(config.config.env.contains(&"A=1".to_owned()));
        for bad in ["RUN true", "COPY a /", "NOPE", "WORKDIR /x"] {
            assert!(
                config_of_changes(&[bad.to_owned()], &Platform::host()).is_err() || bad == "WORKDIR /x",
                "{bad}"
            );
        }
    }
}
