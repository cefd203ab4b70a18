//! The parameters of a target, from its lowered stages.

use std::collections::{BTreeMap, BTreeSet};

use kiln_graph::{Mount, Op};

use super::dependencies::Dependencies;
use super::{BaseConfigs, Lowerer};
use crate::ast::{Arg, Dockerfile, Instruction};
use crate::expand::{Budget, Watched};
use crate::outline::{Outline, OutlineArg, OutlineMount, description};
use crate::plan::{Base, Plan};
use crate::{Diagnostic, Node, Span};

impl Plan {
    /// The parameters of the target: what `--build-arg`, `--secret` and `--ssh` may give to its build. `file` is the
    /// one that the plan was made from; `bases` should hold what [`Plan::lower`] asked for.
    pub fn outline(&self, file: &Dockerfile, bases: &BaseConfigs) -> Result<Outline, Vec<Diagnostic>> {
        let fail = |error| self.linter.clone().fail(error);
        let dependencies = Dependencies::new(self, bases).map_err(fail)?;
        let mut lowerer = Lowerer::new(self, bases, dependencies);
        lowerer.run().map_err(fail)?;
        let (secrets, ssh) = lowerer.outline_mounts();
        let name = self.stages[self.target].name.clone();
        let comments = &file.stages[self.target].comments;
        Ok(Outline {
            description: name.as_deref().and_then(|name| description(comments, name)),
            name,
            args: lowerer.outline_args(file),
            secrets,
            ssh,
        })
    }
}

/// What is known of an argument: how it is shown, and which others its default uses.
#[derive(Debug, Clone)]
struct ArgInfo {
    shown: OutlineArg,
    uses: BTreeSet<String>,
}

impl Lowerer<'_> {
    /// The arguments of every stage that is needed; of two with one name the one that is nearer to the target.
    fn outline_args(&self, file: &Dockerfile) -> Vec<OutlineArg> {
        let global = self.global_args(file);
        let mut found: BTreeMap<String, OutlineArg> = BTreeMap::new();
        for index in self.nearest_first() {
            let (own, used) = self.stage_args(file, index);
            let known = |name: &str| own.get(name).or_else(|| global.get(name));
            for name in with_uses(known, used) {
                if let Some(info) = known(&name) {
                    found.entry(name).or_insert_with(|| info.shown.clone());
                }
            }
        }
        let mut args: Vec<OutlineArg> = found.into_values().collect();
        args.sort_by_key(|arg| arg.span);
        args
    }

    /// The arguments before the first `FROM`; one that is declared again keeps what its earlier default used.
    fn global_args(&self, file: &Dockerfile) -> BTreeMap<String, ArgInfo> {
        let mut known: BTreeMap<String, ArgInfo> = BTreeMap::new();
        for node in &file.global_args {
            let Instruction::Arg(Arg { arguments }) = &node.instruction else { continue };
            for (name, default) in arguments {
                let given = self.plan.options.build_args.contains_key(name);
                let default = default.as_deref().filter(|_| !given);
                let mut uses = default.map(|text| self.names_in(text)).unwrap_or_default();
                if uses.remove(name)
                    && let Some(earlier) = known.get(name)
                {
                    uses.extend(earlier.uses.iter().cloned());
                }
                let shown = shown(node, name, self.plan.global.get(name));
                known.insert(name.clone(), ArgInfo { shown, uses });
            }
        }
        known
    }

    /// The arguments that a stage gives a value, and the names that it uses: its own and those of its `FROM`.
    fn stage_args(&self, file: &Dockerfile, index: usize) -> (BTreeMap<String, ArgInfo>, BTreeSet<String>) {
        let from = &file.stages[index].from;
        let mut used = self.names_in(&from.image);
        used.extend(from.platform.iter().flat_map(|platform| self.names_in(platform)));
        let mut known = BTreeMap::new();
        let Some(state) = &self.states[index] else { return (known, used) };
        let inherited = match self.plan.stages[index].base {
            Base::Stage(base) => self.states[base].as_ref().map_or(0, |base| base.build_args.len()),
            Base::Scratch | Base::Image(_) | Base::Files(_) | Base::Built(..) => 0,
        };
        let own = state.build_args.get(inherited..).unwrap_or_default();
        let written = own_arguments(&self.plan.stages[index].nodes);
        // Triggers come first; they are known by name alone.
        let triggers = own.len().saturating_sub(written.len());
        let places = std::iter::repeat_n(None, triggers).chain(written.into_iter().map(Some));
        for ((name, value), place) in own.iter().zip(places) {
            used.insert(name.clone());
            let has_value = self.plan.options.build_args.contains_key(name)
                || place.is_none_or(|(_, default)| default.is_some());
            if !has_value && self.plan.global.get(name).is_some() {
                continue;
            }
            let shown = match place {
                Some((node, _)) => shown(node, name, value.clone()),
                None => {
                    let span = self.plan.stages[index].span;
                    OutlineArg { name: name.clone(), value: value.clone(), description: None, span }
                }
            };
            known.insert(name.clone(), ArgInfo { shown, uses: BTreeSet::new() });
        }
        (known, used)
    }

    /// The secrets and the agents of every stage that is needed.
    fn outline_mounts(&self) -> (Vec<OutlineMount>, Vec<OutlineMount>) {
        let (mut secrets, mut ssh) = (BTreeMap::new(), BTreeMap::new());
        for (_, vertex) in self.definition.vertices() {
            let Op::Exec(exec) = &vertex.op else { continue };
            let span = vertex.meta.span.map_or_else(Span::default, |(first, last)| Span::new(first, last));
            for mount in &exec.mounts {
                let (all, id, required) = match mount {
                    Mount::Secret { id, required, .. } => (&mut secrets, id, *required),
                    Mount::Ssh { id, required, .. } => (&mut ssh, id, *required),
                    _ => continue,
                };
                all.entry(id.clone()).or_insert_with(|| OutlineMount { id: id.clone(), required, span });
            }
        }
        let in_order = |all: BTreeMap<String, OutlineMount>| {
            let mut all: Vec<OutlineMount> = all.into_values().collect();
            all.sort_by_key(|mount| mount.span);
            all
        };
        (in_order(secrets), in_order(ssh))
    }

    /// The global arguments that a text uses and that have a value.
    fn names_in(&self, text: &str) -> BTreeSet<String> {
        let lookup = |name: &str| self.plan.global.get(name);
        Watched::new(text, self.plan.escape, &lookup, &Budget::default()).matched.into_iter().collect()
    }

    /// A stage, the stage that it is based on, and so on.
    fn with_bases(&self, index: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(index), |index| match self.plan.stages[*index].base {
            Base::Stage(base) => Some(base),
            Base::Scratch | Base::Image(_) | Base::Files(_) | Base::Built(..) => None,
        })
    }

    /// The needed stages: the target, what it is based on, then the others.
    fn nearest_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = self.with_bases(self.plan.target).collect();
        let others = (0..self.states.len()).filter(|index| self.states[*index].is_some());
        let others: Vec<usize> = others.filter(|index| !order.contains(index)).collect();
        order.extend(others);
        order
    }
}

/// The arguments that the `ARG`s of a stage declare, each with its default.
fn own_arguments<'n>(nodes: &'n [Node]) -> Vec<(&'n Node, &'n Option<String>)> {
    let arguments = |node: &'n Node| match &node.instruction {
        Instruction::Arg(arg) => arg.arguments.iter().map(|(_, default)| (node, default)).collect(),
        _ => Vec::new(),
    };
    nodes.iter().flat_map(arguments).collect()
}

fn shown(node: &Node, name: &str, value: Option<String>) -> OutlineArg {
    let description = description(&node.comments, name);
    OutlineArg { name: name.to_owned(), value, description, span: node.span }
}

/// The names, and those that their defaults use, and so on.
fn with_uses<'i>(known: impl Fn(&str) -> Option<&'i ArgInfo>, names: BTreeSet<String>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut left: Vec<String> = names.into_iter().collect();
    while let Some(name) = left.pop() {
        if let Some(info) = known(&name) {
            left.extend(info.uses.iter().filter(|used| !all.contains(*used)).cloned());
        }
        all.insert(name);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PlanOptions, SourceFile, parse};

    fn outline(text: &str, target: &str, args: &[(&str, &str)]) -> Outline {
        let (file, errors) = parse(&SourceFile::new("D", text));
        assert_eq!(errors, []);
        let mut options = PlanOptions::new(kiln_oci::Platform::new("linux", "amd64", None));
        options.target = Some(target.to_owned());
        options.build_args = args.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Plan::new(&file, &options).unwrap().outline(&file, &BaseConfigs::new()).unwrap()
    }

    /// `line name=value # description`, one an argument.
    fn args(outline: &Outline) -> Vec<String> {
        let mut rows = Vec::new();
        for OutlineArg { name, value, description, span } in &outline.args {
            let value = value.as_ref().map(|value| format!("={value}")).unwrap_or_default();
            let description = description.as_ref().map(|text| format!(" # {text}")).unwrap_or_default();
            rows.push(format!("{} {name}{value}{description}", span.first));
        }
        rows
    }

    const ARGS: &str = "\
ARG inherited=box
ARG unused=abc${inherited2}
# sfx is a suffix
ARG sfx=\"usy${inherited}\"
FROM b${sfx} AS first
# nothing of it
ARG FOO=123
# BAR is a number
ARG BAR=456
FROM alpine${unused} AS second
ARG BAZ
FROM scratch AS third
ARG ABC=a
ARG password
# target defines build target
FROM third AS target
COPY --from=first /etc/passwd /
FROM second
";

    #[test]
    fn arguments_that_the_target_uses_are_listed() {
        let found = outline(ARGS, "target", &[("BAR", "678")]);
        assert_eq!(found.description.as_deref(), Some("defines build target"));
        assert_eq!(
            args(&found),
            [
                "1 inherited=box",
                "4 sfx=usybox # is a suffix",
                "7 FOO=123",
                "9 BAR=678 # is a number",
                "13 ABC=a",
                "14 password"
            ]
        );
    }

    #[test]
    fn a_default_keeps_what_it_used_before() {
        let text = "ARG FOO=1\nARG ABC=2\nARG DEF=3\nARG FOO=$FOO$ABC\nFROM scratch AS t\nARG FOO\n";
        let found = outline(text, "t", &[]);
        assert_eq!(args(&found), ["2 ABC=2", "4 FOO=12"]);
    }

    #[test]
    fn secrets_and_agents_of_what_is_needed_are_listed() {
        let text = "\
FROM busybox AS first
RUN --mount=type=secret,target=/etc/passwd,required=true --mount=type=ssh true
FROM busybox AS second
RUN --mount=type=secret,id=unused true
FROM busybox AS third
ARG BAR
RUN --mount=type=secret,id=second${BAR} true
FROM third AS target
COPY --from=first /foo /
RUN --mount=type=ssh,id=ssh3,required true
";
        let found = outline(text, "target", &[("BAR", "678")]);
        let rows = |mounts: &[OutlineMount]| -> Vec<(String, bool, u32)> {
            mounts.iter().map(|mount| (mount.id.clone(), mount.required, mount.span.first)).collect()
        };
        assert_eq!(
            rows(&found.secrets),
            [("passwd".to_owned(), true, 2), ("second678".to_owned(), false, 7)]
        );
        assert_eq!(rows(&found.ssh), [("default".to_owned(), false, 2), ("ssh3".to_owned(), true, 10)]);
    }
}
