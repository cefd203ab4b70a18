//! `MAINTAINER`, which a label replaced long ago.

use super::{Check, FileScene, Report, Rule};
use crate::Instruction;

pub(super) const RULE: Rule = Rule {
    name: "MaintainerDeprecated",
    description: "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    url: Some("https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/"),
    fix: "write `LABEL org.opencontainers.image.authors=\"…\"`",
    experimental: false,
    check: Check::File(check),
};

fn check(scene: &FileScene<'_>, report: &mut Report<'_>) {
    for node in scene.file.stages.iter().flat_map(|stage| &stage.instructions) {
        if let Instruction::Maintainer(_) = &node.instruction {
            let message = "Maintainer instruction is deprecated in favor of using label";
            report.on(node.into(), message.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn it_is_found_wherever_it_stands() {
        let message =
            "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)";
        check("FROM scratch\nMAINTAINER a@b\nFROM scratch", &[message]);
        check("FROM scratch\n# check=skip=MaintainerDeprecated\nMAINTAINER a@b", &[]);
    }
}
