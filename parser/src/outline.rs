//! What a file offers to whoever builds it: its targets, and the parameters of one of them.

use crate::Span;
use crate::ast::Dockerfile;

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name; a stage may have none.
    pub name: Option<String>,
    /// Whether it is built where no target is named.
    pub default: bool,
    /// What the comment above it says after its name.
    pub description: Option<String>,
    /// What its `FROM` begins with, as written.
    pub base: String,
    /// Its `--platform`, as written.
    pub platform: Option<String>,
    /// The lines of its `FROM`.
    pub span: Span,
}

/// The parameters of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The target's name.
    pub name: Option<String>,
    /// What the comment above it says after its name.
    pub description: Option<String>,
    /// Arguments that it or what it is made from uses, in the order of lines.
    pub args: Vec<OutlineArg>,
    /// Secrets of `RUN --mount=type=secret`, in the order of lines.
    pub secrets: Vec<OutlineMount>,
    /// Agents of `RUN --mount=type=ssh`, in the order of lines.
    pub ssh: Vec<OutlineMount>,
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// Its value in this build, where it has one.
    pub value: Option<String>,
    /// What the comment above it says after its name.
    pub description: Option<String>,
    /// The lines of its `ARG`.
    pub span: Span,
}

/// A secret or an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub id: String,
    /// Whether the build fails without it.
    pub required: bool,
    /// The lines of the first `RUN` that wants it.
    pub span: Span,
}

/// Every stage of a file.
pub fn targets(file: &Dockerfile) -> Vec<Target> {
    let last = file.stages.len().saturating_sub(1);
    let target = |(index, stage): (usize, &crate::Stage)| Target {
        name: stage.from.name.clone(),
        default: index == last,
        description: stage.from.name.as_deref().and_then(|name| description(&stage.comments, name)),
        base: stage.from.image.clone(),
        platform: stage.from.platform.clone(),
        span: stage.span,
    };
    file.stages.iter().enumerate().map(target).collect()
}

/// The rest of the first comment that begins with `name` and a space.
pub(crate) fn description(comments: &[String], name: &str) -> Option<String> {
    let rest = |comment: &String| comment.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    comments.iter().find_map(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SourceFile, parse};

    #[test]
    fn stages_are_targets() {
        let text =
            "# build compiles it\nFROM --platform=$BUILDPLATFORM golang AS Build\n# all of it\nFROM build\n";
        let found = targets(&parse(&SourceFile::new("D", text)).0);
        assert_eq!(found[0].name.as_deref(), Some("build"));
        assert_eq!(found[0].description.as_deref(), Some("compiles it"));
        assert_eq!((found[0].default, found[0].platform.as_deref()), (false, Some("$BUILDPLATFORM")));
        assert_eq!((found[1].default, found[1].base.as_str()), (true, "build"));
        assert_eq!(found[1].description, None);
    }
}
