//! `kiln version`.

use kiln_engine::Result;
use serde_json::json;

use super::OK;
use crate::args::system::VersionArgs;
use crate::template::Template;
use crate::terminal;

pub(super) fn run(args: &VersionArgs) -> Result<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let value = json!({ "Version": version, "Os": "linux", "Arch": architecture() });
    let text = match args.format.as_deref() {
        None if !args.json => format!("kiln {version} (linux/{})", architecture()),
        None | Some("json") => value.to_string(),
        Some(template) => Template::parse(template)?.fill(&value)?,
    };
    terminal::say(&text).map(|()| OK)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
