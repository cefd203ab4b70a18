//! Build arguments that were given and that nothing in the file asks for.

use std::collections::BTreeMap;

use super::args::{is_predefined, is_proxy};
use crate::ast::{Dockerfile, Instruction};
use crate::lint::suggest;
use crate::lower::BaseConfigs;
use crate::{Diagnostic, Severity};

/// A warning for each of `build_args` that no `ARG` declares, in the file or in the triggers of `bases`; most likely
/// its name is misspelt.
pub fn undeclared_args(
    file: &Dockerfile,
    build_args: &BTreeMap<String, String>,
    bases: &BaseConfigs,
) -> Vec<Diagnostic> {
    let nodes = || file.global_args.iter().chain(file.stages.iter().flat_map(|stage| &stage.instructions));
    let declared: Vec<&str> = nodes()
        .filter_map(|node| if let Instruction::Arg(arg) = &node.instruction { Some(arg) } else { None })
        .flat_map(|arg| arg.arguments.iter().map(|(name, _)| name.as_str()))
        .collect();
    let in_trigger = |name: &str| {
        let own = nodes()
            .any(|node| matches!(&node.instruction, Instruction::Onbuild(on) if on.text.contains(name)));
        own || bases.triggers().any(|trigger| trigger.contains(name))
    };
    let is_known =
        |name: &str| is_proxy(name) || is_predefined(name) || declared.contains(&name) || in_trigger(name);
    build_args.keys().filter(|name| !is_known(name)).map(|name| warning(name, &declared)).collect()
}

fn warning(name: &str, declared: &[&str]) -> Diagnostic {
    let meant = suggest(name, declared.iter().copied());
    let meant = meant.map(|known| format!(" (did you mean `{known}`?)")).unwrap_or_default();
    let message = format!("build argument `{name}` is not declared by any ARG{meant}");
    let help = Some("an ARG in each stage that uses it declares it".to_owned());
    Diagnostic { severity: Severity::Warning, ..Diagnostic::global(message).with_help(help) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SourceFile, parse};

    #[test]
    fn misspelt_names_are_found() {
        let text = "ARG BASE=a\nFROM $BASE\nARG VERSION\nONBUILD ARG LATER\n";
        let (file, _) = parse(&SourceFile::new("D", text));
        let names =
            ["BASE", "VERSON", "LATER", "HTTP_PROXY", "TARGETARCH", "BUILDKIT_SYNTAX", "SOURCE_DATE_EPOCH"];
        let given = names.into_iter().map(|name| (name.to_owned(), String::new())).collect();
        let found = undeclared_args(&file, &given, &BaseConfigs::new());
        let messages: Vec<&str> = found.iter().map(|found| found.message.as_str()).collect();
        assert_eq!(
            messages,
            ["build argument `VERSON` is not declared by any ARG (did you mean `VERSION`?)"]
        );
    }
}
