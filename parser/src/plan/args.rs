//! Arguments that hold for the whole file: the global `ARG`s, platforms, proxies.

use std::collections::BTreeMap;

use crate::ast::{Dockerfile, Instruction};
use crate::expand::{Budget, Expander};
use crate::plan::PlanOptions;
use crate::{Diagnostic, Node};

const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Whether an argument says how to reach the world; such need no `ARG` and are kept out of keys and history.
pub fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}

/// Whether an argument means something without an `ARG`: platforms, and what is for the builder itself.
pub(super) fn is_predefined(name: &str) -> bool {
    let of_platform =
        |rest: &str| matches!(rest, "PLATFORM" | "OS" | "OSVERSION" | "ARCH" | "VARIANT" | "STAGE");
    let platform = name.strip_prefix("BUILD").or_else(|| name.strip_prefix("TARGET"));
    platform.is_some_and(of_platform) || name.starts_with("BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
}

/// What `FROM` may use and what an `ARG` without default inherits.
#[derive(Debug, Clone, Default)]
pub(crate) struct GlobalArgs(BTreeMap<String, String>);

impl GlobalArgs {
    /// The platforms and then the global `ARG`s, each seeing those before it.
    pub(super) fn new(
        file: &Dockerfile,
        options: &PlanOptions,
        budget: &Budget,
        errors: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut args = GlobalArgs(platform_args(file, options));
        for node in &file.global_args {
            if let Err(diagnostic) = args.declare(node, file.directives.escape, options, budget) {
                errors.push(diagnostic);
            }
        }
        args
    }

    /// The same with nothing given but platforms; `None` where the defaults cannot be expanded.
    pub(super) fn of_defaults(file: &Dockerfile, options: &PlanOptions, budget: &Budget) -> Option<Self> {
        let mut args = GlobalArgs(platform_args(file, options));
        let nothing_given = PlanOptions { build_args: BTreeMap::new(), ..options.clone() };
        let mut declare = |node| args.declare(node, file.directives.escape, &nothing_given, budget);
        file.global_args.iter().try_for_each(&mut declare).ok()?;
        Some(args)
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    /// Every name that has a value, for suggestions.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn declare(
        &mut self,
        node: &Node,
        escape: char,
        options: &PlanOptions,
        budget: &Budget,
    ) -> Result<(), Diagnostic> {
        let Instruction::Arg(arg) = &node.instruction else { return Ok(()) };
        for (name, default) in &arg.arguments {
            let value = match (options.build_args.get(name), default) {
                (Some(given), _) => given.clone(),
                (None, Some(default)) => {
                    let lookup = |name: &str| self.get(name);
                    let expanded = Expander::new(escape, &lookup, budget).word(default);
                    expanded.map_err(|error| Diagnostic::error(node.span, format!("ARG {name}: {error}")))?
                }
                (None, None) => continue,
            };
            self.0.insert(name.clone(), value);
        }
        Ok(())
    }
}

fn platform_args(file: &Dockerfile, options: &PlanOptions) -> BTreeMap<String, String> {
    let mut args = BTreeMap::new();
    for (prefix, platform) in [("BUILD", &options.build_platform), ("TARGET", &options.platform)] {
        let text = if prefix == "TARGET" { platform.format_all() } else { platform.to_string() };
        let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
        args.insert(format!("{prefix}PLATFORM"), text);
        args.insert(format!("{prefix}OS"), platform.os.clone());
        args.insert(format!("{prefix}OSVERSION"), or_empty(&platform.os_version));
        args.insert(format!("{prefix}ARCH"), platform.architecture.clone());
        args.insert(format!("{prefix}VARIANT"), or_empty(&platform.variant));
    }
    let last = || file.stages.last().and_then(|stage| stage.from.name.clone());
    let stage = options.target.clone().or_else(last).unwrap_or_else(|| "default".to_owned());
    args.insert("TARGETSTAGE".to_owned(), stage);
    for (name, value) in &mut args {
        if let Some(given) = options.build_args.get(name) {
            value.clone_from(given);
        }
    }
    args
}
