//! Node.js's packages: `package.json` beneath a `node_modules`.

use serde::Deserialize;
use serde_json::Value;

use super::{Manager, Package, text};

/// What of a package's description is read; every field may be missing or of another type.
#[derive(Deserialize)]
struct Description {
    name: Option<Value>,
    version: Option<Value>,
    license: Option<Value>,
    licenses: Option<Value>,
    author: Option<Value>,
    homepage: Option<Value>,
}

/// The package that a `package.json` describes; folders beneath a package have such files too, without a version.
pub(super) fn parse(bytes: &[u8]) -> Option<Package> {
    let found: Description = serde_json::from_slice(bytes).ok()?;
    Some(Package {
        manager: Manager::Npm,
        name: found.name.as_ref().and_then(string)?,
        version: found.version.as_ref().and_then(string)?,
        license: found.license.as_ref().or(found.licenses.as_ref()).and_then(license),
        supplier: found.author.as_ref().and_then(|author| string(author).or_else(|| string(&author["name"]))),
        homepage: found.homepage.as_ref().and_then(string),
        ..Package::default()
    })
}

fn string(value: &Value) -> Option<String> {
    value.as_str().and_then(text)
}

/// A licence is text; older packages have an object or a list of such, of which one may be chosen.
fn license(value: &Value) -> Option<String> {
    match value {
        Value::Array(all) => {
            let all: Vec<String> =
                all.iter().filter_map(|one| string(one).or_else(|| string(&one["type"]))).collect();
            (!all.is_empty()).then(|| all.join(" OR "))
        }
        other => string(other).or_else(|| string(&other["type"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_descriptions() {
        let parse = |text: &str| parse(text.as_bytes());
        let found =
            parse(r#"{"name":"@a/b","version":"1.0.0","license":"MIT","author":{"name":"X"}}"#).unwrap();
        assert_eq!((found.name.as_str(), found.license.as_deref()), ("@a/b", Some("MIT")));
        assert_eq!(found.supplier.as_deref(), Some("X"));
        let old = r#"{"name":"a","version":"1","licenses":[{"type":"MIT"},{"type":"BSD-2-Clause"}]}"#;
        assert_eq!(parse(old).unwrap().license.as_deref(), Some("MIT OR BSD-2-Clause"));
        for bad in [r#"{"name":"a"}"#, r#"{"name":1,"version":"1"}"#, "[]", "{", r#"{"type":"module"}"#] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
