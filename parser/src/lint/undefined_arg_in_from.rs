//! `FROM $X` where no `ARG X` stands before the first `FROM`.

use super::suggest::suggest;
use super::{Check, FromScene, Report, Rule};
use crate::Instruction;

pub(super) const RULE: Rule = Rule {
    name: "UndefinedArgInFrom",
    description: "FROM command must use declared ARGs",
    url: Some("https://docs.docker.com/go/dockerfile/rule/undefined-arg-in-from/"),
    fix: "declare it with an ARG before the first FROM",
    experimental: false,
    check: Check::From(check),
};

fn check(scene: &FromScene<'_>, report: &mut Report<'_>) {
    let from = &scene.stage.from;
    for text in [Some(&from.image), from.platform.as_ref()].into_iter().flatten() {
        for name in scene.expand(text).unmatched {
            if known(scene).any(|known| known == name) {
                continue;
            }
            let hint = suggest(&name, known(scene));
            let hint = hint.map(|known| format!(" (did you mean {known}?)")).unwrap_or_default();
            report.on(scene.stage.into(), format!("FROM argument '{name}' is not declared{hint}"));
        }
    }
}

/// The arguments that are declared, with and without a value.
fn known<'a>(scene: &'a FromScene<'_>) -> impl Iterator<Item = &'a str> {
    let declared = scene.file.global_args.iter().flat_map(|node| match &node.instruction {
        Instruction::Arg(arg) => &arg.arguments[..],
        _ => &[],
    });
    declared.map(|(name, _)| name.as_str()).chain(scene.args.names())
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn names_must_be_declared() {
        check(
            "ARG tag=1\nFROM busybox:$tag$version",
            &["UndefinedArgInFrom: FROM argument 'version' is not declared (line 2)"],
        );
        check(
            "FROM --platform=$BULIDPLATFORM scratch",
            &[
                "UndefinedArgInFrom: FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?) \
               (line 1)",
            ],
        );
        check("ARG DEBUG\nFROM --platform=$BUILDPLATFORM scratch${DEBUG}", &[]);
    }
}
