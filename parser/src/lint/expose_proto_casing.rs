//! `EXPOSE 80/TCP`.

use super::{Check, InstructionScene, Report, Rule};
use crate::Instruction;

pub(super) const RULE: Rule = Rule {
    name: "ExposeProtoCasing",
    description: "Protocol in EXPOSE instruction should be lowercase",
    url: Some("https://docs.docker.com/go/dockerfile/rule/expose-proto-casing/"),
    fix: "write `tcp`, `udp` or `sctp`",
    experimental: false,
    check: Check::Instruction(check),
};

fn check(scene: &InstructionScene<'_>, report: &mut Report<'_>) {
    let Instruction::Expose(expose) = &scene.node.instruction else { return };
    for port in expose.ports.iter().flat_map(|port| scene.words(port)) {
        let protocol = port.rsplit(':').next().and_then(|part| part.split_once('/'));
        if protocol.is_some_and(|(_, protocol)| protocol != protocol.to_lowercase()) {
            let message = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
            report.on(scene.place(), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn capitals_are_found() {
        let found = |port: &str| {
            format!(
                "ExposeProtoCasing: Defined protocol '{port}' in EXPOSE instruction should be lowercase (line 2)"
            )
        };
        check("FROM scratch\nEXPOSE 80/TcP 8080/TCP 8080/udp", &[&found("80/TcP"), &found("8080/TCP")]);
    }
}
