//! Build checks: rules that find what is legal in a Dockerfile and probably not meant.
//!
//! A [`Rule`] is data, one a file; names, messages and lines are those of BuildKit's linter, so that `# check=` lines
//! and other people's tools mean the same here. Rules look at one of four things (`Check`); the `Linter` asks
//! those that the [`Config`] and the comments above an instruction leave on.

mod config;
mod place;
mod scene;
mod suggest;

mod consistent_instruction_casing;
mod copy_ignored_file;
mod duplicate_stage_name;
mod expose_invalid_format;
mod expose_proto_casing;
mod from_as_casing;
mod from_platform_flag_const_disallowed;
mod invalid_base_image_platform;
mod invalid_default_arg_in_from;
mod invalid_definition_description;
mod json_args_recommended;
mod legacy_key_value_format;
mod maintainer_deprecated;
mod multiple_instructions_disallowed;
mod no_empty_continuation;
mod redundant_target_platform;
mod reserved_stage_name;
mod secrets_used_in_arg_or_env;
mod stage_name_casing;
mod undefined_arg_in_from;
mod undefined_var;
mod workdir_relative_path;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use crate::{Diagnostic, Dockerfile, Span};

pub use config::{Config, ConfigError};
pub(crate) use place::Place;
pub(crate) use scene::{BaseScene, FileScene, FromScene, InstructionScene};
pub use suggest::suggest;

/// Most findings that are kept of one build.
const MAX_FINDINGS: usize = 1000;

/// Every rule, in the order in which BuildKit's documentation has them.
pub static RULES: [Rule; 22] = [
    stage_name_casing::RULE,
    from_as_casing::RULE,
    no_empty_continuation::RULE,
    consistent_instruction_casing::RULE,
    duplicate_stage_name::RULE,
    reserved_stage_name::RULE,
    json_args_recommended::RULE,
    maintainer_deprecated::RULE,
    undefined_arg_in_from::RULE,
    workdir_relative_path::RULE,
    undefined_var::RULE,
    multiple_instructions_disallowed::RULE,
    legacy_key_value_format::RULE,
    invalid_base_image_platform::RULE,
    redundant_target_platform::RULE,
    secrets_used_in_arg_or_env::RULE,
    invalid_default_arg_in_from::RULE,
    from_platform_flag_const_disallowed::RULE,
    copy_ignored_file::RULE,
    invalid_definition_description::RULE,
    expose_proto_casing::RULE,
    expose_invalid_format::RULE,
];

/// One build check.
pub struct Rule {
    /// What `# check=skip=` calls it.
    pub name: &'static str,
    /// Why it is there, in one sentence.
    pub description: &'static str,
    /// The page that explains it, where there is one.
    pub url: Option<&'static str>,
    /// What to write instead.
    pub fix: &'static str,
    /// Whether it is off unless `# check=experimental=` names it.
    pub experimental: bool,
    check: Check,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.name).finish()
    }
}

/// The rule of a name, as [`Diagnostic::rule`] has it.
pub fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

/// What a rule looks at.
enum Check {
    /// The tree of the whole file, before anything is expanded.
    File(fn(&FileScene<'_>, &mut Report<'_>)),
    /// A `FROM` and the arguments that it may use; of every stage.
    From(fn(&FromScene<'_>, &mut Report<'_>)),
    /// An image whose configuration was looked up.
    Base(fn(&BaseScene<'_>, &mut Report<'_>)),
    /// An instruction of a stage that is built, with the variables before it.
    Instruction(fn(&InstructionScene<'_>, &mut Report<'_>)),
}

/// Where one rule puts what it finds.
struct Report<'a> {
    rule: &'static Rule,
    linter: &'a mut Linter,
}

impl Report<'_> {
    /// Something about lines that no comment can excuse.
    fn at(&mut self, span: Span, message: String) {
        self.on(Place { span, comments: &[] }, message);
    }

    /// Something about an instruction; a `# check=skip=` above it excuses it.
    fn on(&mut self, place: Place<'_>, message: String) {
        self.linter.found(self.rule, place, message);
    }
}

/// Asks the rules and keeps what they found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Linter {
    config: Config,
    findings: Vec<Diagnostic>,
}

impl Linter {
    pub(crate) fn new(config: Config) -> Self {
        Linter { config, findings: Vec::new() }
    }

    /// Asks about the whole file.
    pub(crate) fn file(&mut self, scene: &FileScene<'_>) {
        for rule in &RULES {
            if let Check::File(check) = rule.check {
                check(scene, &mut self.report(rule));
            }
        }
    }

    /// Asks about a `FROM`.
    pub(crate) fn from(&mut self, scene: &FromScene<'_>) {
        for rule in &RULES {
            if let Check::From(check) = rule.check {
                check(scene, &mut self.report(rule));
            }
        }
    }

    /// Asks about a base image.
    pub(crate) fn base(&mut self, scene: &BaseScene<'_>) {
        for rule in &RULES {
            if let Check::Base(check) = rule.check {
                check(scene, &mut self.report(rule));
            }
        }
    }

    /// Asks about an instruction that was just lowered.
    pub(crate) fn instruction(&mut self, scene: &InstructionScene<'_>) {
        for rule in &RULES {
            if let Check::Instruction(check) = rule.check {
                check(scene, &mut self.report(rule));
            }
        }
    }

    /// What was found, in the order of asking; with an error at the end where `# check=error=true` makes it one.
    pub(crate) fn finish(self) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        let Linter { config, mut findings } = self;
        if !config.error || findings.is_empty() {
            return Ok(findings);
        }
        let mut rules: Vec<&str> = findings.iter().filter_map(|finding| finding.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        let message = format!("lint violation found for rules: {}", rules.join(", "));
        let help = "`# check=error=true` makes warnings errors; `# check=skip=RULE` turns a rule off";
        findings.push(Diagnostic::global(message).with_help(Some(help.to_owned())));
        Err(findings)
    }

    /// What was found before `error` ended the build, and `error`.
    pub(crate) fn fail(self, error: Diagnostic) -> Vec<Diagnostic> {
        self.fail_all(vec![error])
    }

    /// What was found before `errors` ended the build, and those.
    pub(crate) fn fail_all(self, errors: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let mut all = self.findings;
        all.extend(errors);
        all
    }

    fn report(&mut self, rule: &'static Rule) -> Report<'_> {
        Report { rule, linter: self }
    }

    fn found(&mut self, rule: &'static Rule, place: Place<'_>, message: String) {
        if self.findings.len() < MAX_FINDINGS && self.config.allows(rule, place.comments) {
            let finding = Diagnostic::warning(rule.name, place.span, message);
            self.findings.push(finding.with_help(Some(rule.fix.to_owned())));
        }
    }
}

/// What the rules that need no build say of a file, which may have errors; `build_args` may name the rules.
pub fn check_file(file: &Dockerfile, build_args: &BTreeMap<String, String>) -> Vec<Diagnostic> {
    let config = match Config::of(file, build_args) {
        Ok(config) => config,
        Err(error) => return vec![error],
    };
    let mut linter = Linter::new(config);
    linter.file(&FileScene { file, defaults: None });
    linter.findings
}
