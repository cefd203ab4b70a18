//! `$name` where nothing of that name was defined before.

use super::suggest::suggest;
use super::{Check, InstructionScene, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "UndefinedVar",
    description: "Variables should be defined before their use",
    url: Some("https://docs.docker.com/go/dockerfile/rule/undefined-var/"),
    fix: "define it with ARG or ENV above, or escape the `$`",
    experimental: false,
    check: Check::Instruction(check),
};

fn check(scene: &InstructionScene<'_>, report: &mut Report<'_>) {
    for name in &scene.undefined {
        let hint = suggest(name, scene.variables.iter().map(|(name, _)| name.as_str()));
        let hint = hint.map(|known| format!(" (did you mean ${known}?)")).unwrap_or_default();
        report.on(scene.place(), format!("Usage of undefined variable '${name}'{hint}"));
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn a_definition_comes_first() {
        check(
            "FROM scratch\nCOPY $foo .\nARG foo=bar\nLABEL a=$foo",
            &["UndefinedVar: Usage of undefined variable '$foo' (line 2)"],
        );
        check(
            "FROM scratch\nENV PATH=$PAHT:/bin",
            &["UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?) (line 2)"],
        );
        check("FROM scratch AS a\nARG foo\nFROM a\nCOPY Dockerfile${foo} .", &[]);
    }

    #[test]
    fn arguments_of_one_line_see_those_before_them() {
        check("FROM scratch\nARG a b=$a", &[]);
        check("FROM scratch\nARG b=$b", &["UndefinedVar: Usage of undefined variable '$b' (line 2)"]);
    }

    #[test]
    fn what_a_shell_expands_is_not_looked_at() {
        check("FROM busybox\nRUN echo $x\nEXPOSE 8$x\nCMD [\"$x\"]", &[]);
    }

    #[test]
    fn texts_in_the_file_count() {
        check(
            "FROM scratch\nCOPY <<A <<'B' /\n$x\nA\n$y\nB\n",
            &["UndefinedVar: Usage of undefined variable '$x' (line 2)"],
        );
    }
}
