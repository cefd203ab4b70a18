//! `# check=skip=…;error=…;experimental=…`: which rules apply.

use std::collections::{BTreeMap, BTreeSet};

use kiln_graph::boolean;

use super::Rule;
use crate::directive::directive;
use crate::{Diagnostic, Dockerfile};

/// The build argument that takes the directive's place.
const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Most parts of a configuration; what follows belongs to the last.
const MAX_PARTS: usize = 3;

/// Which rules apply, and whether what they find ends the build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    skip: Selection,
    experimental: Selection,
    /// Whether a finding is an error.
    pub error: bool,
}

/// Rules by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Selection {
    all: bool,
    names: BTreeSet<String>,
}

/// Why a configuration has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A part that is none of the three.
    #[error("invalid check option `{0}`")]
    Option(String),
    /// `error` is neither true nor false.
    #[error("invalid value of check option `{0}`: it must be `true` or `false`")]
    Value(String),
}

impl Config {
    /// Reads `skip=A,B|all;error=BOOL;experimental=A,B|all`.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut config = Config::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(config);
        }
        for part in text.splitn(MAX_PARTS, ';') {
            let (key, value) = part.split_once('=').ok_or_else(|| ConfigError::Option(part.to_owned()))?;
            match key.trim() {
                "skip" => config.skip = Selection::parse(value),
                "experimental" => config.experimental = Selection::parse(value),
                "error" => {
                    config.error =
                        boolean::parse(value.trim()).ok_or_else(|| ConfigError::Value(part.to_owned()))?;
                }
                other => return Err(ConfigError::Option(other.to_owned())),
            }
        }
        Ok(config)
    }

    /// What holds for a build of `file`: `BUILDKIT_DOCKERFILE_CHECK` among the arguments, else its directive.
    pub fn of(file: &Dockerfile, build_args: &BTreeMap<String, String>) -> Result<Self, Diagnostic> {
        let config = match build_args.get(ARGUMENT) {
            Some(text) => Config::parse(text),
            None => Config::of_directive(file.directives.check.as_deref()),
        };
        config.map_err(|error| {
            let help = "write `skip=RULE,…|all`, `error=true` and `experimental=RULE,…|all` with `;` between";
            Diagnostic::global(format!("failed to parse check options: {error}"))
                .with_help(Some(help.to_owned()))
        })
    }

    /// What the directive at the top of a file says: its value ends at the first space.
    fn of_directive(value: Option<&str>) -> Result<Self, ConfigError> {
        Config::parse(value.and_then(|value| value.split(' ').next()).unwrap_or_default())
    }

    /// Whether `rule` applies to an instruction below `comments`.
    pub(super) fn allows(&self, rule: &Rule, comments: &[String]) -> bool {
        let local = of_comments(comments);
        let local = local.as_ref();
        if rule.experimental {
            return self.experimental.has(rule) || local.is_some_and(|local| local.experimental.has(rule));
        }
        !self.skip.has(rule) && !local.is_some_and(|local| local.skip.has(rule))
    }
}

impl Selection {
    fn parse(text: &str) -> Self {
        match text.trim() {
            "all" => Selection { all: true, names: BTreeSet::new() },
            names => {
                Selection { all: false, names: names.split(',').map(|name| name.trim().to_owned()).collect() }
            }
        }
    }

    fn has(&self, rule: &Rule) -> bool {
        self.all || self.names.contains(rule.name)
    }
}

/// What the first `check=` among the comments above an instruction says; nonsense says nothing.
fn of_comments(comments: &[String]) -> Option<Config> {
    let check = comments.iter().find_map(|comment| {
        let (key, value) = directive(comment)?;
        key.eq_ignore_ascii_case("check").then_some(value)
    });
    Config::of_directive(Some(check?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::rule;

    #[test]
    fn parts_in_any_order() {
        let config = Config::parse(" skip=A, WorkdirRelativePath ; error=True;experimental=all").unwrap();
        assert!(config.error && config.experimental.all);
        assert!(!config.allows(rule("WorkdirRelativePath").unwrap(), &[]));
        assert!(config.allows(rule("UndefinedVar").unwrap(), &[]));
        assert!(config.allows(rule("InvalidDefinitionDescription").unwrap(), &[]));
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn nonsense_is_an_error() {
        for (text, expected) in [
            ("skip", "invalid check option `skip`"),
            ("warn=all", "invalid check option `warn`"),
            ("error=maybe", "invalid value of check option `error=maybe`: it must be `true` or `false`"),
        ] {
            assert_eq!(Config::parse(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_comment_speaks_for_its_instruction() {
        let comments = |text: &str| vec!["words".to_owned(), text.to_owned()];
        let config = Config::default();
        let workdir = rule("WorkdirRelativePath").unwrap();
        assert!(!config.allows(workdir, &comments("check=skip=WorkdirRelativePath because")));
        assert!(!config.allows(workdir, &comments("check = skip=all")));
        assert!(config.allows(workdir, &comments("check=skip=UndefinedVar")));
        assert!(config.allows(workdir, &comments("check=nonsense")));
    }
}
