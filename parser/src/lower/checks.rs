//! What build checks get to see of the lowering.

use kiln_graph::ignore::IgnoreFile;
use kiln_oci::{ImageConfig, Platform};

use super::Lowerer;
use super::config::PRIVATE;
use super::scope::Scope;
use super::stage::StageState;
use crate::lint::{BaseScene, InstructionScene};
use crate::plan::Plan;
use crate::{Node, Span};

/// What must be known of a stage as it was before an instruction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    workdir_set: bool,
    declared: usize,
}

impl Before {
    pub(super) fn of(state: &StageState) -> Self {
        Before { workdir_set: state.workdir_set, declared: state.build_args.len() }
    }
}

impl Lowerer<'_> {
    /// Checks the instruction that was just lowered, well or not.
    pub(super) fn check_instruction(
        &mut self,
        state: &StageState,
        scope: &Scope<'_>,
        earlier: &[&Node],
        before: Before,
    ) {
        let declared = &state.build_args[..before.declared.min(state.build_args.len())];
        let mut undefined = scope.take_undefined();
        let is_declared = |name: &String| declared.iter().any(|(known, _)| known == name);
        undefined.retain(|name| !is_declared(name) && !PRIVATE.contains(&name.as_str()));
        self.linter.instruction(&InstructionScene {
            earlier,
            node: scope.node,
            variables: scope.variables.pairs(),
            undefined,
            has_shell: state.config.config.shell.as_ref().is_some_and(|shell| !shell.is_empty()),
            first_workdir: !before.workdir_set,
            ignore: self.ignore.as_ref(),
            escape: scope.escape,
            budget: scope.budget,
        });
    }

    /// Checks an image against the platform that it was asked for; `image` is its name as it stands at `span`.
    pub(super) fn check_image(&mut self, span: Span, image: &str, expected: &Platform, config: &ImageConfig) {
        self.linter.base(&BaseScene { span, image, expected, actual: &config.platform });
    }
}

/// The ignore file of the context, for one that can be read.
pub(super) fn ignore_file(plan: &Plan) -> Option<IgnoreFile> {
    IgnoreFile::parse(plan.options.context_exclude.join("\n").as_bytes()).ok()
}
