//! One stage: its base, its instructions, its state in between.

use kiln_graph::{ActionInput, Edge, FileAction, FileOp, Op, Owner, VertexMeta};
use kiln_oci::{ImageConfig, Platform, Reference};

use super::Lowerer;
use super::checks::Before;
use super::copy::join;
use super::counter::Counter;
use super::scope::Scope;
use super::variables::{EnvIndex, Variables};
use crate::ast::Instruction;
use crate::plan::{Base, NoCache, StagePlan};
use crate::{Diagnostic, Node};

/// What `PATH` is where the base has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Longest text of one history entry in bytes.
const MAX_HISTORY_ENTRY: usize = 4 << 20;
/// Largest sum of all history texts of one build in bytes.
const MAX_HISTORY: usize = 32 << 20;
/// Most variables of a stage.
const MAX_VARIABLES: usize = 32_768;
/// Most entries of history and environment that the stages of a build take over from each other.
pub(super) const MAX_INHERITED: usize = 500_000;

/// A stage so far.
#[derive(Debug, Clone)]
pub(super) struct StageState {
    /// Its files; `None` is the empty filesystem.
    pub(super) edge: Option<Edge>,
    /// Its configuration and history.
    pub(super) config: ImageConfig,
    /// What `$name` means and a `RUN` sees: `ENV` and `ARG`.
    pub(super) variables: Variables,
    /// What the instruction at hand sets; it counts from the next one on.
    pub(super) changes: Variables,
    /// Where the names of `config.config.env` are.
    pub(super) env_index: EnvIndex,
    /// Arguments declared, in order.
    pub(super) build_args: Vec<(String, Option<String>)>,
    /// Whether a `WORKDIR` of this file came before, bases that are stages included.
    pub(super) workdir_set: bool,
    /// Whether this stage itself had a `CMD`.
    pub(super) cmd_set: bool,
    /// What its processes run on.
    pub(super) platform: Platform,
    /// Entries of `config.history` that came with the base image.
    pub(super) base_history: usize,
    /// The image at the bottom.
    pub(super) base: Option<Reference>,
    /// How progress names its steps.
    pub(super) counter: Counter,
    /// Whether remembered results are not used.
    pub(super) ignore_cache: bool,
}

impl StageState {
    /// The state of `FROM scratch`.
    pub(super) fn scratch(platform: &Platform) -> Self {
        let mut config = ImageConfig::empty(platform.clone());
        config.config.working_dir = "/".to_owned();
        StageState::over(None, config, platform)
    }

    fn over(edge: Option<Edge>, mut config: ImageConfig, platform: &Platform) -> Self {
        config.config.env = initial_env(config.config.env, platform);
        if !config.config.working_dir.is_empty() {
            config.config.working_dir = working_dir("/", &config.config.working_dir);
        }
        StageState {
            edge,
            variables: Variables::from_env(&config.config.env),
            changes: Variables::default(),
            env_index: EnvIndex::new(&config.config.env),
            config,
            build_args: Vec::new(),
            workdir_set: false,
            cmd_set: false,
            platform: platform.clone(),
            base_history: 0,
            base: None,
            counter: Counter::default(),
            ignore_cache: false,
        }
    }

    /// The state of a stage on an image.
    fn over_image(edge: Edge, config: ImageConfig, platform: &Platform) -> Self {
        let mut state = StageState::over(Some(edge), config, platform);
        state.config.created = None;
        state.base_history = state.config.history.len();
        state
    }

    /// The shell of shell-form instructions.
    pub(super) fn shell(&self) -> Vec<String> {
        let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
        self.config.config.shell.clone().filter(|shell| !shell.is_empty()).unwrap_or_else(default)
    }

    /// Where relative paths begin, in clean form.
    pub(super) fn cwd(&self) -> String {
        join("/", &self.config.config.working_dir)
    }

    /// Whether an ARG of this name came before, with or without a value.
    pub(super) fn declares(&self, name: &str) -> bool {
        self.build_args.iter().any(|(known, _)| known == name)
    }

    pub(super) fn meta(&mut self, node: &Node, title: &str) -> VertexMeta {
        VertexMeta {
            name: format!("{}{title}", self.counter.next(&self.variables)),
            span: Some((node.span.first, node.span.last)),
            ignore_cache: self.ignore_cache,
            stage: self.counter.stage(),
        }
    }
}

impl Lowerer<'_> {
    /// Lowers a whole stage.
    pub(super) fn stage(&mut self, index: usize) -> Result<StageState, Diagnostic> {
        let plan = self.plan;
        let stage = &plan.stages[index];
        let triggers = std::mem::take(&mut self.dependencies.triggers[index]);
        let mut state = self.base(stage, &triggers)?;
        let nodes: Vec<&Node> = triggers.iter().chain(&stage.nodes).collect();
        for (at, node) in nodes.iter().enumerate() {
            state.counter.set_triggered(at < triggers.len());
            self.instruction(stage, &mut state, node, &nodes[..at])?;
        }
        Ok(state)
    }

    fn base(&mut self, stage: &StagePlan, triggers: &[Node]) -> Result<StageState, Diagnostic> {
        let mut counter = self.counter(stage, triggers);
        let mut state = match &stage.base {
            Base::Scratch => StageState::scratch(&stage.platform),
            Base::Stage(index) => {
                let parent = self.states[*index].clone();
                let parent = parent.unwrap_or_else(|| StageState::scratch(&stage.platform));
                self.inherit(&parent, stage)?;
                parent
            }
            Base::Files(source) => {
                let mut state = StageState::scratch(&stage.platform);
                state.edge = Some(self.context_as_base(source, stage)?);
                state
            }
            Base::Built(source, config) => {
                let edge = self.built_context(source, stage)?;
                self.check_image(stage.span, &stage.image, &stage.platform, config);
                let platform = super::platform::of_stage(self.plan, stage, config);
                StageState::over_image(edge, (**config).clone(), &platform)
            }
            Base::Image(image) => {
                let found = self.bases.get(image).cloned();
                let reference =
                    found.as_ref().map_or_else(|| image.reference.clone(), |found| found.reference.clone());
                let meta = VertexMeta {
                    name: format!("{}FROM {reference}", counter.next(&Variables::default())),
                    span: Some((stage.span.first, stage.span.last)),
                    ignore_cache: false,
                    stage: counter.stage(),
                };
                let edge = self.image(image, meta)?;
                let config =
                    found.map_or_else(|| ImageConfig::empty(stage.platform.clone()), |found| found.config);
                self.check_image(stage.span, &stage.image, &stage.platform, &config);
                let platform = super::platform::of_stage(self.plan, stage, &config);
                StageState { base: Some(reference), ..StageState::over_image(edge, config, &platform) }
            }
        };
        state.config.config.on_build.clear();
        state.cmd_set = false;
        state.counter = counter;
        state.ignore_cache = self.ignores_cache(stage);
        Ok(state)
    }

    /// A chain of long stages would hold every entry once a stage.
    fn inherit(&mut self, parent: &StageState, stage: &StagePlan) -> Result<(), Diagnostic> {
        self.inherited += parent.config.history.len() + parent.variables.len();
        if self.inherited > MAX_INHERITED { Err(too_much_inherited(stage)) } else { Ok(()) }
    }

    fn counter(&self, stage: &StagePlan, triggers: &[Node]) -> Counter {
        let makes_layer = |node: &&Node| {
            use Instruction::{Add, Copy, Run, Workdir};
            matches!(node.instruction, Add(_) | Copy(_) | Run(_) | Workdir(_))
        };
        let steps = triggers.iter().chain(&stage.nodes).filter(makes_layer).count();
        let total = steps + usize::from(matches!(stage.base, Base::Image(_)));
        let several = self.plan.stages.len() > 1;
        let unnamed = || if several { format!("stage-{}", stage.index) } else { String::new() };
        let platform = self.plan.options.multi_platform.then(|| stage.platform.clone());
        Counter::new(platform, stage.name.clone().unwrap_or_else(unnamed), total)
    }

    fn ignores_cache(&self, stage: &StagePlan) -> bool {
        match &self.plan.options.no_cache {
            NoCache::Off => false,
            NoCache::All => true,
            NoCache::Stages(names) => names.iter().any(|name| {
                stage.name.as_deref() == Some(name.to_lowercase().as_str())
                    || *name == stage.index.to_string()
            }),
        }
    }

    fn instruction(
        &mut self,
        stage: &StagePlan,
        state: &mut StageState,
        node: &Node,
        earlier: &[&Node],
    ) -> Result<(), Diagnostic> {
        let plan = self.plan;
        let new = match &node.instruction {
            Instruction::Env(env) => env.variables.len(),
            Instruction::Arg(arg) => arg.arguments.len(),
            _ => 0,
        };
        if state.variables.len() + new > MAX_VARIABLES {
            let message = format!("a stage cannot have more than {MAX_VARIABLES} variables");
            return Err(Diagnostic::error(node.span, message));
        }
        let budget = std::mem::take(&mut self.budget);
        let scope = Scope::new(node, state, plan.escape, &budget);
        let before = Before::of(state);
        let result = match &node.instruction {
            Instruction::Run(run) => self.lower_run(stage, state, &scope, run),
            Instruction::Copy(copy) => self.lower_copy(stage, state, &scope, copy),
            Instruction::Add(add) => self.lower_add(state, &scope, add),
            Instruction::Workdir(path) => self.lower_workdir(state, &scope, path),
            other => super::config::apply(plan, state, &scope, other),
        };
        self.check_instruction(state, &scope, earlier, before);
        drop(scope);
        self.budget = budget;
        result?;
        state.variables.merge(&mut state.changes);
        self.check_size(state, node)
    }

    /// What one instruction may leave behind in the configuration has limits.
    fn check_size(&mut self, state: &StageState, node: &Node) -> Result<(), Diagnostic> {
        let entry =
            state.config.history.last().and_then(|entry| entry.created_by.as_ref()).map_or(0, String::len);
        self.history_bytes += entry;
        if entry > MAX_HISTORY_ENTRY || self.history_bytes > MAX_HISTORY {
            return Err(Diagnostic::error(node.span, "the image's history becomes too long here"));
        }
        Ok(())
    }

    /// A directory layer even where the directory exists, but for `/`.
    fn lower_workdir(
        &mut self,
        state: &mut StageState,
        scope: &Scope<'_>,
        path: &str,
    ) -> Result<(), Diagnostic> {
        let dir = working_dir(&state.config.config.working_dir, &scope.word(path)?);
        let created_by = format!("WORKDIR {dir}");
        state.config.config.working_dir = dir;
        state.workdir_set = true;
        let path = state.cwd();
        let layer = path != "/";
        if layer {
            let owner = Owner::parse(&state.config.config.user);
            let input = state.edge.map_or(ActionInput::Scratch, |_| ActionInput::Input(0));
            let action = FileAction::Mkdir { input, path, mode: 0o755, make_parents: true, owner };
            let meta = state.meta(scope.node, &scope.title());
            let op = Op::File(FileOp { actions: vec![action] });
            state.edge = Some(self.add(op, state.edge.into_iter().collect(), meta)?.output());
        }
        if layer {
            state.record_layer(created_by);
        } else {
            state.record(created_by);
        }
        Ok(())
    }
}

/// The complaint about more than [`MAX_INHERITED`] entries.
pub(super) fn too_much_inherited(stage: &StagePlan) -> Diagnostic {
    let message = format!(
        "the stages have more than {MAX_INHERITED} entries of history and environment from each other"
    );
    Diagnostic::error(stage.span, message)
}

/// The environment of a base, with a `PATH` in any case.
pub(super) fn initial_env(mut env: Vec<String>, platform: &Platform) -> Vec<String> {
    if !env.iter().any(|entry| entry.split('=').next() == Some("PATH")) && platform.os != "windows" {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    env
}

/// The directory that `path` means in `current`. As BuildKit writes it into the image: an absolute path as it is, a
/// relative one cleaned, the current one where there is none.
fn working_dir(current: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { join(&join("/", current), path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_32_47_there_is_a_path_but_on_windows() {
        let env = |os: &str, env: &[&str]| {
            initial_env(
                env.iter().map(|entry| (*entry).to_owned()).collect(),
                &Platform::new(os, "amd64", None),
            )
        };
        assert_eq!(env("linux", &["A=1"]), ["A=1".to_owned(), format!("PATH={DEFAULT_PATH}")]);
        assert_eq!(env("linux", &["PATH=/x"]), ["PATH=/x"]);
        assert_eq!(env("windows", &["A=1"]), ["A=1"]);
    }

    #[test]
    fn item_53_relative_directories_join_and_absolute_ones_stay() {
        for (current, path, expected) in [
            ("", "a", "/a"),
            ("/a", "b/../c/", "/a/c"),
            ("/a", "/b//c/", "/b//c/"),
            ("a", "", "/a"),
            ("/a/", "..", "/"),
        ] {
            assert_eq!(working_dir(current, path), expected, "{current} {path}");
        }
    }
}
