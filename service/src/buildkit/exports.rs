//! What becomes of a result: BuildKit's exporters as the engine's exports, and what is answered about them.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::moby::buildkit::v1::{Exporter, SolveRequest};
use kiln_engine::build::{AttributeError, BuildResult, BuiltImage, Export, export_attributes};
use kiln_engine::{Error, Result};

use super::filesend::Streams;
use super::session::Session;

/// The most exporters of one build.
pub(super) const MAX_EXPORTERS: usize = 32;
/// Attributes that are for clients, or for nobody any more; `dest` most of all: it would be a path of this machine.
/// `prefer-image-digest` is what Docker's clients say to stores that know images by their manifests too, as ours does.
const NOT_OURS: [&str; 6] = ["dest", "context", "buildinfo", "buildinfo-attrs", "tar", "prefer-image-digest"];
/// The type of images for the daemon's own store, as Docker's daemon calls it.
const MOBY: &str = "moby";

/// The exporters of a request, those of former clients too.
pub(super) fn exporters(request: &SolveRequest) -> Vec<Exporter> {
    if !request.exporters.is_empty() || request.exporter_deprecated.is_empty() {
        return request.exporters.clone();
    }
    vec![Exporter {
        r#type: request.exporter_deprecated.clone(),
        attrs: request.exporter_attrs_deprecated.clone(),
    }]
}

/// The exports that they are. What goes to the client goes through `session`.
pub(super) fn exports(
    exporters: &[Exporter],
    session: Option<&Arc<Session>>,
    streams: &Streams,
) -> Result<Vec<Export>> {
    if exporters.len() > MAX_EXPORTERS {
        return Err(Error::invalid(format!("a build has {MAX_EXPORTERS} exporters at most")));
    }
    exporters
        .iter()
        .enumerate()
        .map(|(number, exporter)| export(number, exporter, session, streams))
        .collect()
}

fn export(
    number: usize,
    exporter: &Exporter,
    session: Option<&Arc<Session>>,
    streams: &Streams,
) -> Result<Export> {
    let kind = exporter.r#type.as_str();
    let wrong = |message: String| Error::invalid(format!("exporter `{kind}`: {message}"));
    if exporter.attrs.get("tar").is_some_and(|tar| kiln_engine::boolean::parse(tar) == Some(false)) {
        return Err(Error::not_implemented(format!("exporter `{kind}` with `tar=false` to a client")));
    }
    let attributes = exporter.attrs.iter().filter(|(key, _)| !NOT_OURS.contains(&key.as_str()));
    let mut attributes: Vec<(String, String)> =
        attributes.map(|(key, value)| (key.clone(), value.clone())).collect();
    attributes.sort();
    // What a client gets is written to its session, never to a path that it names.
    let dest = match kind {
        "tar" | "oci" | "docker" => Some("-"),
        "local" => Some("."),
        _ => None,
    };
    attributes.extend(dest.map(|dest| ("dest".to_owned(), dest.to_owned())));
    let session = || session.ok_or_else(|| wrong("it needs a session of the client".to_owned()));
    let mut to_client = ToClient { number, session: None, streams };
    if dest == Some("-") {
        to_client.session = Some(session()?);
    }
    let type_here = if kind == MOBY { "image" } else { kind };
    let export = export_attributes::export(type_here, &attributes, &mut to_client);
    let export = export.map_err(|AttributeError { message, hint }| {
        let error = wrong(message);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    });
    match export? {
        Export::Local { split, epoch, prefix, .. } => {
            let to = Box::new(streams.tree(session()?, number)?);
            Ok(Export::Files { to, split, epoch, prefix })
        }
        export => Ok(export),
    }
}

/// Where the bytes of an export go.
struct ToClient<'a> {
    number: usize,
    session: Option<&'a Arc<Session>>,
    streams: &'a Streams,
}

impl export_attributes::Streams for ToClient<'_> {
    fn stream(&mut self) -> std::result::Result<Box<dyn Write + Send + Sync>, AttributeError> {
        let none = || Error::invalid("there is no session");
        let opened =
            self.session.ok_or_else(none).and_then(|session| self.streams.open(session, self.number));
        opened.map_err(|error| AttributeError { message: error.message, hint: error.hint })
    }
}

/// What a client is answered about its images; of several exporters the first that says something is believed.
pub(super) fn response(result: &BuildResult) -> HashMap<String, String> {
    let mut response = HashMap::new();
    for image in &result.images {
        for (key, value) in of_image(image) {
            response.entry(key.to_owned()).or_insert(value);
        }
    }
    response
}

fn of_image(image: &BuiltImage) -> Vec<(&'static str, String)> {
    let descriptor = serde_json::to_vec(&image.descriptor).unwrap_or_default();
    let mut known = vec![
        ("containerimage.digest", image.descriptor.digest.to_string()),
        ("containerimage.descriptor", STANDARD.encode(descriptor)),
    ];
    known.extend(image.config.as_ref().map(|config| ("containerimage.config.digest", config.to_string())));
    if !image.names.is_empty() {
        let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
        known.push(("image.name", names.join(",")));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str, attributes: &[(&str, &str)]) -> Result<Export> {
        let attrs = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let exporter = Exporter { r#type: kind.to_owned(), attrs };
        export(0, &exporter, None, &Streams::default())
    }

    #[test]
    fn images_are_for_the_store_whatever_their_type_is_called() {
        for kind in ["image", MOBY] {
            let export =
                of(kind, &[("name", "app:1,app:2"), ("context", "x"), ("prefer-image-digest", "true")])
                    .unwrap();
            let Export::Image { image, place } = export else { panic!("{kind} is no image") };
            assert_eq!((image.names.len(), place.push), (2, false));
        }
    }

    /// A stranger's path is no path of this machine.
    #[test]
    fn nothing_is_written_where_a_client_says() {
        for kind in ["tar", "oci", "docker", "local"] {
            let error = of(kind, &[("dest", "/tmp/kiln-must-not-be-here")]).unwrap_err();
            assert!(error.message.contains("session"), "{kind}: {}", error.message);
        }
        assert!(of("image", &[("dest", "/tmp/x")]).is_ok());
        assert!(of("oci", &[("tar", "false")]).is_err());
        assert!(of("nonsense", &[]).unwrap_err().message.contains("nonsense"));
    }
}
