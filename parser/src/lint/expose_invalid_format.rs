//! `EXPOSE 8080:80`: where a port is published is decided when the image is run.

use super::{Check, InstructionScene, Report, Rule};
use crate::Instruction;

pub(super) const RULE: Rule = Rule {
    name: "ExposeInvalidFormat",
    description: "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error \
                  in a future release",
    url: Some("https://docs.docker.com/go/dockerfile/rule/expose-invalid-format/"),
    fix: "write the container's port alone; `run -p` says where it is published",
    experimental: false,
    check: Check::Instruction(check),
};

fn check(scene: &InstructionScene<'_>, report: &mut Report<'_>) {
    let Instruction::Expose(expose) = &scene.node.instruction else { return };
    for port in expose.ports.iter().flat_map(|port| scene.words(port)) {
        let host = port.rsplit_once(':').map_or("", |(host, _)| host);
        if host.bytes().any(|byte| byte != b':') {
            let message = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
            );
            report.on(scene.place(), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::check;

    #[test]
    fn addresses_and_host_ports_are_found() {
        let found = |port: &str| {
            format!(
                "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found \
                 '{port}' (line 2)"
            )
        };
        check(
            "FROM scratch\nEXPOSE 127.0.0.1:80:80 5000:5000 8000",
            &[&found("127.0.0.1:80:80"), &found("5000:5000")],
        );
        check("FROM scratch\nEXPOSE 80-81/tcp", &[]);
    }
}
