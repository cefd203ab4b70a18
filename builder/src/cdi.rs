//! Devices by the Container Device Interface: which there are on this machine, and which a name means.
//!
//! Specs are read from directories when a step asks for a device, so a driver that was installed meanwhile is seen.
//! In a later directory a device replaces one of the same name in an earlier one.

mod edits;
mod spec;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use edits::Edits;
use kiln_graph::boolean;
use spec::Spec;

/// The most bytes of one spec.
const MAX_SPEC: u64 = 1 << 20;
/// The most files of one directory that are looked at.
const MAX_FILES: usize = 1000;
/// The annotation by whose value a device is found too.
const CLASS: &str = "org.mobyproject.buildkit.device.class";
/// The annotation of a device that every build may use.
const AUTO_ALLOW: &str = "org.mobyproject.buildkit.device.autoallow";

/// A device that a spec describes.
#[derive(Debug, Clone)]
pub struct Device {
    /// `vendor/class=device`.
    pub name: String,
    spec: Arc<Spec>,
    index: usize,
}

/// The devices of this machine.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    devices: BTreeMap<String, Device>,
    /// What is wrong with files that were left out.
    problems: Vec<String>,
}

impl Registry {
    /// Reads every spec in `dirs`; one that is not there has none, and what cannot be read is left out with its reason.
    pub fn load(dirs: &[PathBuf]) -> Registry {
        let mut registry = Registry::default();
        for path in dirs.iter().flat_map(|dir| files(dir)) {
            match read(&path) {
                Ok(spec) => registry.add(Arc::new(spec)),
                Err(reason) => registry.problems.push(format!("`{}`: {reason}", path.display())),
            }
        }
        registry
    }

    fn add(&mut self, spec: Arc<Spec>) {
        for (index, device) in spec.devices.iter().enumerate() {
            let name = format!("{}={}", spec.kind, device.name);
            self.devices.insert(name.clone(), Device { name, spec: spec.clone(), index });
        }
    }

    /// What is wrong with specs that could not be read.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The devices that `name` means: `vendor/class=device`, `vendor/class=*` for all, `vendor/class` for the first, or
    /// the value of a class annotation.
    pub fn find(&self, name: &str) -> Vec<&Device> {
        let (kind, device) = name.split_once('=').unwrap_or((name, ""));
        let of_kind = || {
            let is_one = |device: &&Device| device.spec.kind == kind;
            self.devices.values().filter(is_one)
        };
        let found: Vec<_> = match device {
            _ if !kind.contains('/') => Vec::new(),
            "" => of_kind().take(1).collect(),
            "*" => of_kind().collect(),
            _ => self.devices.get(name).into_iter().collect(),
        };
        match found.is_empty() {
            true => self.devices.values().filter(|device| device.annotation(CLASS) == Some(name)).collect(),
            false => found,
        }
    }
}

impl Device {
    /// Whether every build may use it.
    pub fn is_allowed_to_all(&self) -> bool {
        self.annotation(AUTO_ALLOW).and_then(boolean::parse) == Some(true)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        let own = &self.spec.devices[self.index].annotations;
        own.get(key).or_else(|| self.spec.annotations.get(key)).map(String::as_str)
    }
}

/// The specs in a directory, by name.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_spec = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| ["json", "yaml", "yml"].iter().any(|known| extension == *known))
    };
    let mut paths: Vec<_> = entries.filter(is_spec).take(MAX_FILES).collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> Result<Spec, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_SPEC + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_SPEC {
        return Err(format!("it is larger than {MAX_SPEC} bytes"));
    }
    Spec::parse(&text, path.extension().is_some_and(|extension| extension == "json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{
        "cdiVersion": "0.6.0", "kind": "vendor1.com/device",
        "annotations": { "org.mobyproject.buildkit.device.class": "class1" },
        "devices": [
            { "name": "foo", "containerEdits": { "env": ["FOO=injected"] } },
            { "name": "bar", "containerEdits": { "env": ["BAR=injected"] },
              "annotations": { "org.mobyproject.buildkit.device.autoallow": "true" } }
        ]
    }"#;
    const YAML: &str = "cdiVersion: \"0.6.0\"\nkind: vendor2.com/gpu\ndevices:\n- name: \"0\"\n  containerEdits:\n    env:\n    - GPU=0\n";

    fn registry(files: &[(&str, &str)]) -> Registry {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Registry::load(&[dir.path().join("nowhere"), dir.path().to_owned()])
    }

    #[test]
    fn names_mean_what_they_do_in_buildkit() {
        let registry = registry(&[("a.json", JSON), ("b.yaml", YAML), ("c.txt", "not one")]);
        let cases: &[(&str, &[&str])] = &[
            ("vendor1.com/device=foo", &["vendor1.com/device=foo"]),
            ("vendor1.com/device", &["vendor1.com/device=bar"]),
            ("vendor1.com/device=*", &["vendor1.com/device=bar", "vendor1.com/device=foo"]),
            ("class1", &["vendor1.com/device=bar", "vendor1.com/device=foo"]),
            ("vendor2.com/gpu=0", &["vendor2.com/gpu=0"]),
            ("vendor2.com/gpu=1", &[]),
            ("vendor3.com/device", &[]),
            ("foo", &[]),
        ];
        for (name, expected) in cases {
            let found: Vec<_> = registry.find(name).iter().map(|device| device.name.as_str()).collect();
            assert_eq!(found, *expected, "{name}");
        }
        let is_open = |name: &str| registry.find(name)[0].is_allowed_to_all();
        assert!(is_open("vendor1.com/device=bar") && !is_open("vendor1.com/device=foo"));
    }

    #[test]
    fn what_cannot_be_read_is_left_out_with_its_reason() {
        let long = format!("{{{}}}", " ".repeat(MAX_SPEC as usize));
        let kind = JSON.replace("vendor1.com/device", "no-slash");
        let name = JSON.replace("\"foo\"", "\"../foo\"");
        let files =
            [("a.json", JSON), ("b.json", "{"), ("c.json", &long), ("d.json", &kind), ("e.json", &name)];
        let registry = registry(&files);
        assert_eq!(registry.devices.len(), 2);
        assert_eq!(registry.problems().len(), 4, "{:?}", registry.problems());
    }
}
