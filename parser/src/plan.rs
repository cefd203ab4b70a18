//! What a build of a Dockerfile needs: arguments applied, stages found, base images named.

mod args;
mod contexts;
mod stages;
mod undeclared;

use std::collections::BTreeMap;

use kiln_graph::{ExtraHost, Network};
use kiln_oci::{Platform, Reference};

use crate::lint::Linter;
use crate::lower::BaseConfigs;
use crate::{Diagnostic, Dockerfile};

pub(crate) use args::GlobalArgs;
pub use args::is_proxy;
pub(crate) use contexts::image as context_image;
pub use contexts::{NamedContext, NamedContexts};
pub(crate) use stages::{Base, SCRATCH, StagePlan, base_image};
pub use undeclared::undeclared_args;

/// What the caller of a build wants.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// The stage to build, by name or number; the last where not given.
    pub target: Option<String>,
    /// `--build-arg`; proxies (`HTTP_PROXY`, …) among them reach every `RUN`.
    pub build_args: BTreeMap<String, String>,
    /// `--label`, set on the result.
    pub labels: BTreeMap<String, String>,
    /// What the result runs on.
    pub platform: Platform,
    /// Whether nobody asked for that platform, so that a base image for another one decides.
    pub implicit_platform: bool,
    /// Whether the build is for several platforms, so that progress tells which a step is of.
    pub multi_platform: bool,
    /// What the build runs on.
    pub build_platform: Platform,
    /// Which remembered results are not used.
    pub no_cache: NoCache,
    /// `--add-host`.
    pub extra_hosts: Vec<ExtraHost>,
    /// The hostname of every `RUN`.
    pub hostname: Option<String>,
    /// The network of each `RUN` that does not ask for one.
    pub network: Option<Network>,
    /// Bytes of each `RUN`'s `/dev/shm`; 0 is the default.
    pub shm_size: u64,
    /// Resource limits of each `RUN`, `name=soft[:hard]`.
    pub ulimits: Vec<String>,
    /// The lines of the context's `.dockerignore` ([`crate::ignore::lines`]). They become the `exclude` of the
    /// source `context`, so that whoever reads the context needs to know nothing of ignore files.
    pub context_exclude: Vec<String>,
    /// What stands in for stages and images.
    pub contexts: NamedContexts,
    /// Whether stages that the target does not need are lowered too, for build checks of a whole file.
    pub all_stages: bool,
}

/// Which remembered results are not used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NoCache {
    /// All are used.
    #[default]
    Off,
    /// None is used.
    All,
    /// Those of these stages are not used.
    Stages(Vec<String>),
}

impl PlanOptions {
    /// A build for `platform`, which somebody asked for, with nothing else set.
    pub fn new(platform: Platform) -> Self {
        PlanOptions {
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            build_platform: platform.clone(),
            platform,
            implicit_platform: false,
            multi_platform: false,
            no_cache: NoCache::Off,
            extra_hosts: Vec::new(),
            hostname: None,
            network: None,
            shm_size: 0,
            ulimits: Vec::new(),
            context_exclude: Vec::new(),
            contexts: NamedContexts::default(),
            all_stages: false,
        }
    }
}

/// An image whose configuration is needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaseImage {
    /// As written, in full form, with a default tag.
    pub reference: Reference,
    /// Which image of an index.
    pub platform: Platform,
}

/// A Dockerfile with arguments applied and the target found.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The images whose configurations [`Plan::lower`] needs.
    pub base_images: Vec<BaseImage>,
    pub(crate) options: PlanOptions,
    pub(crate) stages: Vec<StagePlan>,
    pub(crate) target: usize,
    pub(crate) global: GlobalArgs,
    pub(crate) escape: char,
    /// What build checks have found so far.
    pub(crate) linter: Linter,
}

impl Plan {
    /// Applies `options`: expands every `FROM`, finds the target and the images that it needs.
    ///
    /// Stages that the target does not need are checked too. `dockerfile` should come from a `parse` without errors.
    pub fn new(dockerfile: &Dockerfile, options: &PlanOptions) -> Result<Plan, Vec<Diagnostic>> {
        let mut plan = stages::plan(dockerfile, options)?;
        plan.base_images = match crate::lower::missing_images(&plan, &BaseConfigs::default()) {
            Ok(missing) => missing,
            Err(diagnostic) => return Err(plan.linter.fail(diagnostic)),
        };
        Ok(plan)
    }
}
