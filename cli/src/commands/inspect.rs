//! `kiln inspect`.

use kiln_engine::{Engine, Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::{OK, network, volume};
use crate::app::App;
use crate::args::container::InspectArgs;
use crate::render::{container, image};
use crate::template::Template;
use crate::terminal;

pub(super) fn run(args: &InspectArgs, kind: Option<&str>, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    let kind = args.kind.as_deref().or(kind);
    let (mut found, mut failed) = (Vec::new(), None);
    for name in &args.names {
        let wanted = Wanted { name, platform: args.platform.as_deref(), format: args.format.as_deref() };
        match look_up(&engine, wanted, kind) {
            Ok(value) => found.push(value),
            Err(error) => failed = Some(error),
        }
    }
    if failed.is_none() || !found.is_empty() {
        print(&found, args.format.as_deref())?;
    }
    failed.map_or(Ok(OK), Err)
}

/// What is asked for.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    name: &'a str,
    /// Which image of an index.
    platform: Option<&'a str>,
    /// How it is shown.
    format: Option<&'a str>,
}

type LookUp = fn(&Engine, Wanted<'_>) -> Result<Value>;

const KINDS: [(&str, LookUp); 4] = [
    ("container", |engine, wanted| Ok(container::inspect(&engine.containers().inspect(wanted.name)?))),
    ("image", image_named),
    ("volume", |engine, wanted| Ok(volume::value(&engine.volumes().inspect(wanted.name)?))),
    ("network", |engine, wanted| network_named(engine, wanted.name)),
];

/// The first thing of that name: containers before images, as Docker looks.
fn look_up(engine: &Engine, wanted: Wanted<'_>, kind: Option<&str>) -> Result<Value> {
    let kind = kind.or(wanted.platform.map(|_| "image"));
    for (_, look_up) in KINDS.iter().filter(|(known, _)| kind.is_none_or(|kind| kind == *known)) {
        match look_up(engine, wanted) {
            Err(error) if error.kind == ErrorKind::NotFound && kind.is_none() => {}
            result => return result,
        }
    }
    let what = kind.unwrap_or("container, image, volume or network");
    Err(Error::not_found(format!("no {what} `{}` here", wanted.name)))
}

/// What a template may ask for that is long: the predicates of statements, under the keys of `buildx imagetools inspect`.
const PREDICATES: [(&str, &str, &str); 2] =
    [("Provenance", "SLSA", "https://slsa.dev/provenance/"), ("SBOM", "SPDX", "https://spdx.dev/Document")];

fn image_named(engine: &Engine, wanted: Wanted<'_>) -> Result<Value> {
    let details = engine.images().inspect(wanted.name, wanted.platform)?;
    let mut value = image::inspect(&details);
    for (field, key, kind) in PREDICATES {
        if !wanted.format.is_some_and(|format| format.contains(&format!(".{field}"))) {
            continue;
        }
        let statement =
            details.statements.iter().find(|statement| statement.predicate_type.starts_with(kind));
        let predicate = statement.map(|statement| engine.images().predicate(statement)).transpose()?;
        let predicate = predicate.map(|text| serde_json::from_str::<Value>(&text)).transpose();
        let malformed =
            |error| Error::invalid(format!("the {field} of `{}` is no JSON", wanted.name)).caused_by(error);
        value[field] =
            predicate.map_err(malformed)?.map_or(Value::Null, |predicate| json!({ key: predicate }));
    }
    Ok(value)
}

fn network_named(engine: &Engine, name: &str) -> Result<Value> {
    let networks = engine.networks().list()?;
    let found = networks.iter().find(|network| network.name == name || network.id == name);
    found.map(network::value).ok_or_else(|| Error::not_found(format!("no network `{name}`")))
}

/// Values as one JSON list, or each through a template.
pub(super) fn print(found: &[Value], format: Option<&str>) -> Result<u8> {
    match format {
        None => terminal::say(&serde_json::to_string_pretty(found).unwrap_or_default())?,
        Some("json") => terminal::say(&serde_json::to_string(found).unwrap_or_default())?,
        Some(template) => {
            let template = Template::parse(template)?;
            for value in found {
                terminal::say(&template.fill(value)?)?;
            }
        }
    }
    Ok(OK)
}
