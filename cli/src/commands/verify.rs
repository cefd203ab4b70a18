//! `kiln build --verify`: what is said of two builds of the same.

use std::io::Write as _;

use kiln_engine::Result;
use kiln_engine::build::BuildResult;
use kiln_engine::build::verify::{Attribute, Divergence, LayerDivergence};
use serde_json::{Value, json};

use crate::args::build::VerifyFormat;
use crate::terminal;

/// The exit code where the two differ.
const DIFFERENT: u8 = 1;

/// Two builds made the same.
pub(super) fn same(built: BuildResult, format: VerifyFormat) -> Result<BuildResult> {
    match format {
        VerifyFormat::Json => terminal::say(
            &json!({ "same": true, "id": built.image().map(|image| image.id().as_str()) }).to_string(),
        )?,
        VerifyFormat::Text => {
            let _ = std::io::stderr().write_all(b"Verified: two builds from nothing made the same\n");
        }
    }
    Ok(built)
}

/// Two builds did not make the same.
pub(super) fn different(found: Divergence, format: Option<VerifyFormat>) -> Result<u8> {
    if format != Some(VerifyFormat::Json) {
        return Err(found.into());
    }
    terminal::say(&as_json(&found).to_string()).map(|()| DIFFERENT)
}

fn as_json(found: &Divergence) -> Value {
    match found {
        Divergence::Layer(found) => layer_as_json(found),
        Divergence::Image(found) => json!({
            "same": false,
            "platform": found.platform.as_ref().map(ToString::to_string),
            "field": found.field,
            "values": found.values,
        }),
    }
}

fn layer_as_json(found: &LayerDivergence) -> Value {
    let attribute = &found.difference.attribute;
    let mut object = json!({
        "same": false,
        "platform": found.platform.as_ref().map(ToString::to_string),
        "layer": found.layer,
        "layers": found.layers,
        "step": found.step,
        "file": found.file,
        "line": found.lines.map(|(first, _)| first),
        "path": found.difference.path,
        "attribute": attribute.name(),
        "detail": attribute.to_string(),
        "timesOnly": found.is_of_times(),
        "times": found.times,
    });
    if let Attribute::Content { offset, .. } = attribute {
        object["offset"] = json!(offset);
    }
    object
}
