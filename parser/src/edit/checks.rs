//! What a build would complain about, as far as the text alone says.

use std::collections::BTreeMap;

use kiln_oci::{ImageConfig, Platform};

use super::Document;
use crate::lint::check_file;
use crate::plan::SCRATCH;
use crate::{BaseConfigs, Diagnostic, Dockerfile, Instruction, Lowering, Plan, PlanOptions, ResolvedBase};

impl Document {
    /// Adds what the build checks say, and why a build of any of the stages would not begin.
    ///
    /// Of base images nothing is known, nor which files and arguments there are; rules that ask for more than the
    /// text are left out.
    pub(super) fn check(&mut self) {
        let found = match self.diagnostics.iter().any(Diagnostic::is_error) {
            true => check_file(&self.file, &BTreeMap::new()),
            false => lowered(&self.file),
        };
        let found: Vec<Diagnostic> =
            found.into_iter().filter(|diagnostic| self.is_known(diagnostic)).collect();
        self.diagnostics.extend(found);
        self.diagnostics.sort_by_key(|diagnostic| diagnostic.span.map(|span| span.first));
    }

    /// Whether a finding does not depend on the base image: that may define the variables that nobody else does,
    /// unless one of a similar name is defined here.
    fn is_known(&self, finding: &Diagnostic) -> bool {
        if finding.rule != Some("UndefinedVar") || finding.message.contains("did you mean") {
            return true;
        }
        let stage = finding.span.and_then(|span| self.stage_of(span.first));
        let base = stage.and_then(|stage| self.bases_of(stage).first().copied());
        base.is_some_and(|base| self.file.stages[base].from.image == SCRATCH)
    }
}

/// What is said on the way to a graph of all stages, on bases without any configuration.
fn lowered(file: &Dockerfile) -> Vec<Diagnostic> {
    let options =
        PlanOptions { all_stages: true, build_args: given(file), ..PlanOptions::new(Platform::host()) };
    let plan = match Plan::new(file, &options) {
        Ok(plan) => plan,
        Err(found) => return found,
    };
    let mut bases = BaseConfigs::new();
    for image in &plan.base_images {
        let config = ImageConfig::empty(image.platform.clone());
        bases.insert(image.clone(), ResolvedBase { reference: image.reference.clone(), config });
    }
    match plan.lower(&bases) {
        Ok(Lowering::Ready(lowered)) => lowered.warnings,
        Ok(Lowering::NeedsMore(_)) => Vec::new(),
        Err(found) => found,
    }
}

/// Values for the arguments that every build has to give: a word that is an image, a name and a tag.
fn given(file: &Dockerfile) -> BTreeMap<String, String> {
    let arguments = file.global_args.iter().filter_map(|node| match &node.instruction {
        Instruction::Arg(arg) => Some(&arg.arguments),
        _ => None,
    });
    let without_default = arguments.flatten().filter(|(_, default)| default.is_none());
    without_default.map(|(name, _)| (name.clone(), SCRATCH.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceFile;

    /// Rule or message, with its line.
    fn check(text: &str, expected: &[(&str, u32)]) {
        let document = Document::new(SourceFile::new("Dockerfile", text));
        let show = |found: &'_ Diagnostic| {
            let what = found.rule.map_or_else(|| found.message.clone(), str::to_owned);
            (what, found.span.map_or(0, |span| span.first))
        };
        let found: Vec<(String, u32)> = document.diagnostics().iter().map(show).collect();
        let expected: Vec<(String, u32)> =
            expected.iter().map(|(what, line)| ((*what).to_owned(), *line)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn rules_look_at_every_stage() {
        check(
            "FROM a as one\nENV a b\nFROM scratch\nmaintainer c\n",
            &[
                ("FromAsCasing", 1),
                ("LegacyKeyValueFormat", 2),
                ("ConsistentInstructionCasing", 4),
                ("MaintainerDeprecated", 4),
            ],
        );
        check("# check=skip=all\nFROM a as one\n", &[]);
    }

    #[test]
    fn a_base_may_define_variables() {
        check("FROM a\nUSER $x\n", &[]);
        check("FROM a AS b\nENV name=1\nFROM b\nUSER $nane\n", &[("UndefinedVar", 4)]);
        check("FROM scratch AS b\nFROM b\nUSER $x\n", &[("UndefinedVar", 3)]);
    }

    #[test]
    fn arguments_without_default_will_be_given() {
        check(
            "ARG A TAG\nFROM $A\nUSER $x\nFROM b:$TAG\nMAINTAINER c\n",
            &[("InvalidDefaultArgInFrom", 2), ("InvalidDefaultArgInFrom", 4), ("MaintainerDeprecated", 5)],
        );
    }

    #[test]
    fn mistakes_that_only_a_plan_sees() {
        let message = "invalid from flag value `3`: there is no stage of this number";
        check("FROM scratch\nCOPY --from=3 a b\nFROM scratch\n", &[(message, 2)]);
    }

    #[test]
    fn rules_that_need_no_sense_are_asked_beside_errors() {
        check("FROM a as one\nRUNN\n", &[("FromAsCasing", 1), ("unknown instruction `RUNN`", 2)]);
    }
}
