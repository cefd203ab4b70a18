//! What two builds of the same say of an image beside its layers: its base images and its configuration.

use std::collections::BTreeSet;

use kiln_graph::{Definition, Op, SourceOp};
use kiln_oci::{ImageConfig, Platform, Reference};
use serde_json::Value;

use super::super::Prepared;
use crate::{Error, ErrorKind};

/// Where what two builds of the same say of an image differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDivergence {
    /// The platform, where the build is for several and it is about one of them.
    pub platform: Option<Platform>,
    /// What is not the same: `base image`, or a field of the configuration such as `config.Env[1]`.
    pub field: String,
    /// What each of the builds has there, as JSON; nothing where it lacks the field.
    pub values: [Option<String>; 2],
}

impl ImageDivergence {
    /// What can be done about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        (self.field == BASE)
            .then_some("what its name means has changed meanwhile: `FROM NAME@DIGEST` pins it")
    }
}

impl From<ImageDivergence> for Error {
    fn from(found: ImageDivergence) -> Error {
        let platform =
            found.platform.as_ref().map(|platform| format!(" for `{platform}`")).unwrap_or_default();
        let [one, other] = found
            .values
            .clone()
            .map(|value| value.map_or("missing".to_owned(), |value| format!("`{value}`")));
        let field = &found.field;
        let mut error = Error::new(
            ErrorKind::Build,
            format!("two builds{platform} differ in what the image is: {field} is {one} and {other}"),
        );
        error.hint = found.hint().map(str::to_owned);
        error
    }
}

/// What a base image is called here.
const BASE: &str = "base image";

/// The first difference of what two builds say of their images. Creation times are no part of it: they are those of the
/// builds, or the same by `SOURCE_DATE_EPOCH`.
pub(super) fn first(one: &Prepared, other: &Prepared) -> Option<ImageDivergence> {
    let (first, second) = (bases(&one.definition), bases(&other.definition));
    if let Some((first, second)) = first.iter().zip(&second).find(|(one, other)| one != other) {
        let values = [first, second].map(|base| Some(base.familiar()));
        return Some(ImageDivergence { platform: None, field: BASE.to_owned(), values });
    }
    one.targets.iter().zip(&other.targets).find_map(|(target, again)| {
        let (field, values) = first_field(&target.config, &again.config)?;
        let platform = one.multi_platform.then(|| target.platform.clone());
        Some(ImageDivergence { platform, field, values })
    })
}

fn bases(definition: &Definition) -> Vec<&Reference> {
    let bases = definition.vertices().filter_map(|(_, vertex)| match &vertex.op {
        Op::Source(SourceOp::Image { reference, .. }) => Some(reference),
        _ => None,
    });
    bases.collect()
}

/// What two values have at one place.
type Values = [Option<String>; 2];

/// The first field that two configurations have not in common, names in order.
fn first_field(one: &ImageConfig, other: &ImageConfig) -> Option<(String, Values)> {
    let value = |config: &ImageConfig| serde_json::from_slice(&config.to_bytes()).unwrap_or(Value::Null);
    let mut at = String::new();
    let values = differ(&mut at, Some(&value(one)), Some(&value(other)))?;
    Some((at, values))
}

/// What two values have where they differ first, and the way there in `at`.
fn differ(at: &mut String, one: Option<&Value>, other: Option<&Value>) -> Option<Values> {
    if one == other {
        return None;
    }
    let length = at.len();
    match (one, other) {
        (Some(Value::Object(first)), Some(Value::Object(second))) => {
            let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
            names.into_iter().find_map(|name| {
                at.truncate(length);
                let dot = if length == 0 { "" } else { "." };
                at.extend([dot, name]);
                differ(at, first.get(name), second.get(name))
            })
        }
        (Some(Value::Array(first)), Some(Value::Array(second))) => (0..first.len().max(second.len()))
            .find_map(|index| {
                at.truncate(length);
                at.push_str(&format!("[{index}]"));
                differ(at, first.get(index), second.get(index))
            }),
        _ => Some([one, other].map(|value| value.map(Value::to_string))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ImageConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_first_field_that_differs_is_named() {
        let of = |config: &str| {
            format!(
                r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},{config}}}"#
            )
        };
        let one = config(&of(r#""config":{"Env":["A=1","B=2"],"Labels":{"x":"1"}}"#));
        assert_eq!(first_field(&one, &one), None);
        let cases = [
            (
                r#""config":{"Env":["A=1","B=3"],"Labels":{"x":"2"}}"#,
                "config.Env[1]",
                [Some("\"B=2\""), Some("\"B=3\"")],
            ),
            (r#""config":{"Env":["A=1"],"Labels":{"x":"1"}}"#, "config.Env[1]", [Some("\"B=2\""), None]),
            (
                r#""config":{"Env":["A=1","B=2"],"Labels":{"x":"1","y":"2"}}"#,
                "config.Labels.y",
                [None, Some("\"2\"")],
            ),
        ];
        for (other, field, values) in cases {
            let found = first_field(&one, &config(&of(other))).unwrap();
            assert_eq!(found, (field.to_owned(), values.map(|value| value.map(str::to_owned))));
        }
    }

    #[test]
    fn it_is_said_in_a_sentence() {
        let found = ImageDivergence {
            platform: Some(Platform::new("linux", "arm64", None)),
            field: "config.Env[1]".to_owned(),
            values: [Some("\"A\"".to_owned()), None],
        };
        let error = Error::from(found.clone());
        let expected =
            "two builds for `linux/arm64` differ in what the image is: config.Env[1] is `\"A\"` and missing";
        assert_eq!((error.message.as_str(), error.hint), (expected, None));
        let base = ImageDivergence { field: BASE.to_owned(), ..found };
        assert!(Error::from(base).hint.unwrap().contains("FROM NAME@DIGEST"));
    }
}
