//! `ARG password`: what is in arguments and variables is in the image for everybody to read.

use super::{Check, InstructionScene, Report, Rule};
use crate::Instruction;

pub(super) const RULE: Rule = Rule {
    name: "SecretsUsedInArgOrEnv",
    description: "Sensitive data should not be used in the ARG or ENV commands",
    url: Some("https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/"),
    fix: "hand it to the step that needs it: `RUN --mount=type=secret,id=…` and `--secret id=…`",
    experimental: false,
    check: Check::Instruction(check),
};

/// Words that make a name sound secret.
const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Words that say that it is none.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

fn check(scene: &InstructionScene<'_>, report: &mut Report<'_>) {
    let (keyword, names): (_, Vec<String>) = match &scene.node.instruction {
        Instruction::Arg(arg) => ("ARG", arg.arguments.iter().map(|(name, _)| name.clone()).collect()),
        Instruction::Env(env) => {
            ("ENV", env.variables.iter().filter_map(|pair| scene.word(&pair.key)).collect())
        }
        _ => return,
    };
    for name in names.iter().filter(|name| has_word(name, &SECRET) && !has_word(name, &HARMLESS)) {
        let message = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})");
        report.on(scene.place(), message);
    }
}

/// Whether one of the `words` stands in `name`, between underscores or at an end.
fn has_word(name: &str, words: &[&str]) -> bool {
    name.split('_').any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn words_of_a_name_decide() {
        let found = |what: &str, line: u32| {
            format!(
                "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data ({what}) (line {line})"
            )
        };
        check(
            "FROM scratch\nARG SECRET_PASSPHRASE\nENV SUPER_Secret=a auth=b sunflower=c\nENV git_key=",
            &[
                &found("ARG \"SECRET_PASSPHRASE\"", 2),
                &found("ENV \"SUPER_Secret\"", 3),
                &found("ENV \"auth\"", 3),
                &found("ENV \"git_key\"", 4),
            ],
        );
        check("FROM scratch\nARG public_token AUTH_MODULE_VERSION monkey\nENV password_file=a", &[]);
        check("FROM scratch\n# check=skip=all // only here\nARG password", &[]);
    }
}
