//! A spec of the Container Device Interface, version 1.1 and before.

use std::collections::BTreeMap;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A vendor's devices of one class.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    /// `vendor/class`.
    pub(super) kind: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) devices: Vec<DeviceSpec>,
    /// What each device adds, once for all of them.
    #[serde(default)]
    pub(super) container_edits: EditsSpec,
}

/// One device.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceSpec {
    pub(super) name: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) container_edits: EditsSpec,
}

/// What is added to a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EditsSpec {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<NodeSpec>,
    pub(super) mounts: Vec<MountSpec>,
    #[serde(rename = "additionalGids")]
    pub(super) additional_gids: Vec<u32>,
    pub(super) hooks: Vec<HookSpec>,
    pub(super) intel_rdt: Option<Value>,
    pub(super) net_devices: Vec<Value>,
}

/// A device node; what it does not say is asked of the host's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NodeSpec {
    pub(super) path: String,
    pub(super) host_path: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) file_mode: Option<u32>,
    pub(super) permissions: Option<String>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// A mount of the host's files.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct MountSpec {
    pub(super) host_path: String,
    pub(super) container_path: String,
    pub(super) options: Vec<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

/// A program that a runtime would run.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HookSpec {
    pub(super) hook_name: String,
}

impl Spec {
    /// Reads a spec and checks its names; the error says what is wrong with it.
    pub(super) fn parse(text: &str, is_json: bool) -> Result<Spec, String> {
        let value = if is_json {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        } else {
            yaml(text)?
        };
        let spec: Spec = serde_json::from_value(value).map_err(|error| error.to_string())?;
        let is_kind =
            spec.kind.split_once('/').is_some_and(|(vendor, class)| is_name(vendor) && is_name(class));
        if !is_kind {
            return Err(format!("the kind `{}` is not `vendor/class`", spec.kind.escape_debug()));
        }
        match spec.devices.iter().find(|device| !is_name(&device.name)) {
            Some(device) => Err(format!("`{}` is not a device's name", device.name.escape_debug())),
            None => Ok(spec),
        }
    }
}

/// Letters and digits at both ends; `.`, `_`, `-` and `:` between.
fn is_name(text: &str) -> bool {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    is_end(text.chars().next()) && is_end(text.chars().next_back()) && text.chars().all(is_inner)
}

/// The one document of a YAML text as JSON, which every spec can be.
fn yaml(text: &str) -> Result<Value, String> {
    let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
    match documents.as_slice() {
        [document] => json(document),
        other => Err(format!("it has {} documents instead of one", other.len())),
    }
}

fn json(node: &Yaml<'_>) -> Result<Value, String> {
    Ok(match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => Value::Bool(*value),
        Yaml::Value(Scalar::Integer(value)) => Value::from(*value),
        Yaml::Value(Scalar::FloatingPoint(value)) => Value::from(value.into_inner()),
        Yaml::Value(Scalar::String(value)) => Value::String(value.to_string()),
        Yaml::Sequence(items) => Value::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        Yaml::Mapping(entries) => {
            let entry = |(key, value): (&Yaml<'_>, &Yaml<'_>)| match key {
                Yaml::Value(Scalar::String(key)) => Ok((key.to_string(), json(value)?)),
                _ => Err("a key is not text".to_owned()),
            };
            Value::Object(entries.iter().map(entry).collect::<Result<Map<_, _>, _>>()?)
        }
        _ => return Err("it uses a feature of YAML that a spec does not need".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_say_the_same() {
        let yaml = "\
# made by a driver
cdiVersion: 0.5.0
kind: nvidia.com/gpu
containerEdits:
  env:
    - NVIDIA_VISIBLE_DEVICES=void
devices:
  - name: all
    containerEdits:
      deviceNodes:
        - path: /dev/nvidia0
          major: 195
          fileMode: 438
      mounts:
        - {hostPath: /usr/lib/x.so, containerPath: /usr/lib/x.so, options: [ro, nosuid]}
";
        let json = r#"{"kind": "nvidia.com/gpu", "containerEdits": {"env": ["NVIDIA_VISIBLE_DEVICES=void"]},
            "devices": [{"name": "all", "containerEdits": {
                "deviceNodes": [{"path": "/dev/nvidia0", "major": 195, "fileMode": 438}],
                "mounts": [{"hostPath": "/usr/lib/x.so", "containerPath": "/usr/lib/x.so", "options": ["ro", "nosuid"]}]}}]}"#;
        let (one, other) = (Spec::parse(yaml, false).unwrap(), Spec::parse(json, true).unwrap());
        assert_eq!(format!("{one:?}"), format!("{other:?}"));
    }

    #[test]
    fn what_is_no_spec_is_refused() {
        for bad in
            ["", "- a\n", "kind: a/b\n", "a: &x [1]\nb: !tag x\n", "1: 2\n", "---\na: 1\n---\nb: 2\n", "\t"]
        {
            assert!(Spec::parse(bad, false).is_err(), "{bad:?}");
        }
    }
}
