//! What a build may do beyond the ordinary. One check for every door: no graph is solved before it has passed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use kiln_graph::{Definition, ExecOp, Network, Op, Security, Vertex};

use crate::cdi::{Device, Registry};
use crate::error::{BuildError, Cause, Failure};

/// The network of the machine.
const NETWORK_HOST: &str = "network.host";
/// Everything that root may.
const SECURITY_INSECURE: &str = "security.insecure";
/// Devices.
const DEVICE: &str = "device";

/// What a build was granted; nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entitlements {
    network_host: bool,
    security_insecure: bool,
    all_devices: bool,
    devices: BTreeSet<String>,
}

/// A grant that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of `{NETWORK_HOST}`, `{SECURITY_INSECURE}` and `{DEVICE}[=NAME]`")]
pub struct UnknownGrant(String);

impl Entitlements {
    /// Grants one more, by its name: `network.host`, `security.insecure`, `device` for all devices, `device=NAME`.
    pub fn grant(&mut self, text: &str) -> Result<(), UnknownGrant> {
        match text.split_once('=').unwrap_or((text, "")) {
            (NETWORK_HOST, "") => self.network_host = true,
            (SECURITY_INSECURE, "") => self.security_insecure = true,
            (DEVICE, "") => self.all_devices = true,
            // `device=NAME,alias=OTHER` is BuildKit's; a name has no comma.
            (DEVICE, name) if !name.contains(',') => drop(self.devices.insert(name.to_owned())),
            _ => return Err(UnknownGrant(text.to_owned())),
        }
        Ok(())
    }

    /// Grants the network of the host.
    pub fn grant_host_network(&mut self) {
        self.network_host = true;
    }

    /// Whether everything that the graph wants is granted; devices are looked for in the specs of `cdi_dirs`.
    pub(crate) fn check(&self, definition: &Definition, cdi_dirs: &[PathBuf]) -> Result<(), BuildError> {
        for (_, vertex) in definition.vertices() {
            if let Op::Exec(exec) = &vertex.op {
                self.check_exec(exec, cdi_dirs).map_err(|cause| error(vertex, cause))?;
            }
        }
        Ok(())
    }

    /// The same of a process alone.
    pub fn check_exec(&self, exec: &ExecOp, cdi_dirs: &[PathBuf]) -> Result<(), Cause> {
        match exec.network {
            Network::Host if !self.network_host => {
                return Err(denied("the network of the host", NETWORK_HOST));
            }
            Network::Host | Network::Sandbox | Network::None => {}
        }
        match exec.security {
            Security::Insecure if !self.security_insecure => {
                return Err(denied("`--security=insecure`", SECURITY_INSECURE));
            }
            Security::Insecure | Security::Sandbox => {}
        }
        if exec.devices.is_empty() {
            return Ok(());
        }
        let registry = Registry::load(cdi_dirs);
        for device in devices(&registry, exec)? {
            if !self.allows(&registry, &device) {
                return Err(denied(
                    &format!("the device `{}`", device.name),
                    &format!("{DEVICE}={}", device.name),
                ));
            }
        }
        Ok(())
    }

    fn allows(&self, registry: &Registry, device: &Device) -> bool {
        let is_meant = |name: &String| registry.find(name).iter().any(|found| found.name == device.name);
        self.all_devices || device.is_allowed_to_all() || self.devices.iter().any(is_meant)
    }
}

/// The devices that a step gets. One that is not there and not required is as if it had not been asked for.
pub(crate) fn devices(registry: &Registry, exec: &ExecOp) -> Result<Vec<Device>, Cause> {
    let mut all: Vec<Device> = Vec::new();
    for asked in &exec.devices {
        let found = registry.find(&asked.name);
        if found.is_empty() && asked.required {
            return Err(no_device(registry, &asked.name));
        }
        for device in found {
            if !all.iter().any(|known| known.name == device.name) {
                all.push(device.clone());
            }
        }
    }
    Ok(all)
}

fn no_device(registry: &Registry, name: &str) -> Cause {
    let hint = match registry.problems() {
        [] => "a CDI spec in `/etc/cdi` or `/var/run/cdi` describes a device".to_owned(),
        problems => format!("some CDI specs could not be read: {}", problems.join("; ")),
    };
    Cause::NotGiven { what: format!("the device `{name}` is required and not on this machine"), hint }
}

fn denied(what: &str, grant: &str) -> Cause {
    Cause::NotGiven {
        what: format!("{what} is not allowed in this build"),
        hint: format!("`--allow {grant}` allows it, if you trust the Dockerfile"),
    }
}

fn error(vertex: &Vertex, cause: Cause) -> BuildError {
    BuildError { step: vertex.meta.name.clone(), span: vertex.meta.span, failure: Failure::of(cause) }
}

#[cfg(test)]
mod tests {
    use kiln_graph::{Device as Asked, VertexMeta};
    use kiln_oci::Platform;

    use super::*;

    const SPEC: &str = r#"{"kind": "a/b", "devices": [{"name": "x"}, {"name": "y"},
        {"name": "open", "annotations": {"org.mobyproject.buildkit.device.autoallow": "true"}}]}"#;

    fn granted(texts: &[&str]) -> Entitlements {
        let mut entitlements = Entitlements::default();
        texts.iter().for_each(|text| entitlements.grant(text).unwrap());
        entitlements
    }

    /// What the check says of one step.
    fn check(grants: &[&str], change: impl FnOnce(&mut ExecOp)) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("spec.json"), SPEC).unwrap();
        let mut exec = ExecOp::new(vec!["x".to_owned()], Platform::new("linux", "amd64", None), None);
        change(&mut exec);
        let mut definition = Definition::default();
        definition.add(Op::Exec(exec), Vec::new(), VertexMeta::named("step")).unwrap();
        granted(grants)
            .check(&definition, &[dir.path().to_owned()])
            .map_err(|error| error.failure.cause.to_string())
    }

    fn device(name: &str, required: bool) -> impl FnOnce(&mut ExecOp) {
        let asked = Asked { name: name.to_owned(), required };
        move |exec| exec.devices.push(asked)
    }

    #[test]
    fn nothing_is_granted_by_default() {
        assert_eq!(check(&[], |_| ()), Ok(()));
        assert_eq!(
            check(&["security.insecure", "device"], |exec| exec.network = Network::Host),
            Err("the network of the host is not allowed in this build".to_owned())
        );
        assert_eq!(check(&["network.host"], |exec| exec.network = Network::Host), Ok(()));
        assert!(check(&["network.host", "device"], |exec| exec.security = Security::Insecure).is_err());
        assert_eq!(check(&["security.insecure"], |exec| exec.security = Security::Insecure), Ok(()));
        assert!(check(&["network.host", "security.insecure"], device("a/b=x", false)).is_err());
    }

    #[test]
    fn devices_are_granted_all_or_by_name() {
        assert_eq!(check(&["device"], device("a/b=*", true)), Ok(()));
        assert_eq!(check(&["device=a/b=x"], device("a/b=x", true)), Ok(()));
        assert_eq!(
            check(&["device=a/b=x"], device("a/b=*", true)),
            Err("the device `a/b=y` is not allowed in this build".to_owned())
        );
        assert_eq!(check(&[], device("a/b=open", true)), Ok(()));
        assert_eq!(check(&[], device("a/b=none", false)), Ok(()));
        assert!(check(&["device"], device("a/b=none", true)).is_err());
    }

    #[test]
    fn what_is_no_grant_is_refused() {
        for bad in ["", "network", "network.host=1", "security.sandbox", "Device", "device=a,alias=b"] {
            assert!(Entitlements::default().grant(bad).is_err(), "{bad}");
        }
    }
}
