//! Documents from strangers: size caps, one meaning only, and every digest parsed before it is used.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::media_type::Kind;
use crate::{Image, ImageConfig, Index, Manifest, MediaType};

/// The longest manifest or index that is read (distribution-spec recommends 4 MiB).
pub const MAX_MANIFEST: usize = 4 << 20;
/// The longest image configuration that is read.
pub const MAX_CONFIG: usize = 8 << 20;
/// The most entries an index may have.
pub const MAX_INDEX_ENTRIES: usize = 10_000;
/// The most layers an image may have; the kernel's overlay filesystem takes 500.
pub const MAX_LAYERS: usize = 500;
/// The most entries an image's history may have.
pub const MAX_HISTORY: usize = 10_000;
/// How deep indexes may be nested.
pub const MAX_INDEX_DEPTH: usize = 4;

/// What was found behind a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several.
    Index(Index),
}

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is longer than its kind may be.
    #[error("the {what} has {size} bytes, more than the limit of {limit}")]
    TooLong {
        /// Which kind of document.
        what: &'static str,
        /// Its length.
        size: usize,
        /// The most allowed.
        limit: usize,
    },
    /// It has more of something than allowed.
    #[error("the {what} has {count} {item}, more than the limit of {limit}")]
    TooMany {
        /// Which kind of document.
        what: &'static str,
        /// Of what it has too many.
        item: &'static str,
        /// How many.
        count: usize,
        /// The most allowed.
        limit: usize,
    },
    /// It is not the JSON of its kind.
    #[error("the {what} is malformed")]
    Json {
        /// Which kind of document.
        what: &'static str,
        /// What serde found.
        source: serde_json::Error,
    },
    /// It could be read as two kinds of document.
    #[error("the document has both {0}, so it is neither a manifest nor an index")]
    Ambiguous(&'static str),
    /// It and its envelope disagree on what it is.
    #[error("the document says it is `{body}`, but it was delivered as `{envelope}`")]
    TypeMismatch {
        /// The `mediaType` inside.
        body: String,
        /// The `Content-Type` or the descriptor's media type.
        envelope: String,
    },
    /// It is something kiln cannot use.
    #[error("`{0}` is neither an image manifest nor an index")]
    Unsupported(String),
    /// Its parts do not fit together.
    #[error("the {what} is inconsistent: {problem}")]
    Inconsistent {
        /// Which kind of document.
        what: &'static str,
        /// What does not fit.
        problem: String,
    },
}

/// The keys that decide what a document is; their values are looked at later, if at all.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape<'a> {
    #[serde(default, borrow)]
    media_type: Option<Cow<'a, str>>,
    #[serde(default)]
    schema_version: Option<u64>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<IgnoredAny>,
}

/// Parses a manifest or index that was delivered as `content_type`, a header's value or a descriptor's media type.
///
/// The rules, against documents that two readers could understand differently (CVE-2021-41190): a document with the
/// keys of both kinds is refused; a `mediaType` inside must agree with `content_type` and with the keys; where both
/// are absent the keys decide, as image-spec allows for OCI documents.
pub fn parse_manifest(bytes: &[u8], content_type: Option<&str>) -> Result<Document, ParseError> {
    limit_size("manifest", bytes, MAX_MANIFEST)?;
    let shape: Shape = json("manifest", bytes)?;
    match kind_of(&shape, content_type.map(essence))? {
        Kind::Index => parse_index(bytes).map(Document::Index),
        _ => parse_image_manifest(bytes).map(Document::Manifest),
    }
}

/// A header's media type without its parameters.
fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn kind_of(shape: &Shape, envelope: Option<&str>) -> Result<Kind, ParseError> {
    let body = shape.media_type.as_deref();
    // Servers that do not know better say that any JSON is JSON.
    let envelope = envelope
        .filter(|e| !matches!(*e, "" | "application/json" | "text/plain" | "application/octet-stream"));
    if let (Some(body), Some(envelope)) = (body, envelope)
        && body != envelope
    {
        return Err(ParseError::TypeMismatch { body: body.to_owned(), envelope: envelope.to_owned() });
    }
    if shape.fs_layers.is_some() || shape.schema_version == Some(1) {
        return Err(ParseError::Unsupported("a manifest of Docker's schema 1".to_owned()));
    }
    let found = match (shape.layers.is_some() || shape.config.is_some(), shape.manifests.is_some()) {
        (true, true) => return Err(ParseError::Ambiguous("`manifests` and `layers` or `config`")),
        (true, false) => Kind::Manifest,
        (false, true) => Kind::Index,
        (false, false) => Kind::Other,
    };
    let claimed = body.or(envelope);
    let agrees = claimed.is_none_or(|claimed| MediaType::new(claimed).kind() == found);
    if found == Kind::Other || !agrees {
        return Err(ParseError::Unsupported(claimed.unwrap_or("the document").to_owned()));
    }
    Ok(found)
}

fn parse_index(bytes: &[u8]) -> Result<Index, ParseError> {
    let index: Index = json("index", bytes)?;
    limit_count("index", "entries", index.manifests.len(), MAX_INDEX_ENTRIES)?;
    check_schema("index", index.schema_version)?;
    Ok(index)
}

fn parse_image_manifest(bytes: &[u8]) -> Result<Manifest, ParseError> {
    let manifest: Manifest = json("manifest", bytes)?;
    limit_count("manifest", "layers", manifest.layers.len(), MAX_LAYERS)?;
    check_schema("manifest", manifest.schema_version)?;
    Ok(manifest)
}

fn check_schema(what: &'static str, version: u32) -> Result<(), ParseError> {
    if version == 2 {
        return Ok(());
    }
    Err(ParseError::Inconsistent { what, problem: format!("`schemaVersion` is {version}, not 2") })
}

/// Parses an image configuration.
pub fn parse_config(bytes: &[u8]) -> Result<ImageConfig, ParseError> {
    limit_size("image configuration", bytes, MAX_CONFIG)?;
    let config: ImageConfig = json("image configuration", bytes)?;
    limit_count("image configuration", "layers", config.rootfs.diff_ids.len(), MAX_LAYERS)?;
    limit_count("image configuration", "history entries", config.history.len(), MAX_HISTORY)?;
    if config.rootfs.kind != "layers" {
        let problem = format!("`rootfs.type` is `{}`, not `layers`", config.rootfs.kind);
        return Err(ParseError::Inconsistent { what: "image configuration", problem });
    }
    Ok(config)
}

/// Parses the configuration that `manifest` points to, and checks that the two tell of the same number of layers.
pub fn parse_image(manifest: Manifest, config: &[u8]) -> Result<Image, ParseError> {
    let config = parse_config(config)?;
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if layers != diff_ids {
        let problem = format!("the manifest has {layers} layers, the configuration {diff_ids}");
        return Err(ParseError::Inconsistent { what: "image", problem });
    }
    Ok(Image { manifest, config })
}

fn json<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, ParseError> {
    serde_json::from_slice(bytes).map_err(|source| ParseError::Json { what, source })
}

fn limit_size(what: &'static str, bytes: &[u8], limit: usize) -> Result<(), ParseError> {
    let size = bytes.len();
    if size > limit { Err(ParseError::TooLong { what, size, limit }) } else { Ok(()) }
}

fn limit_count(what: &'static str, item: &'static str, count: usize, limit: usize) -> Result<(), ParseError> {
    if count > limit { Err(ParseError::TooMany { what, item, count, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn descriptor(digest: &str) -> String {
        format!(r#"{{"mediaType":"{}","digest":"{digest}","size":2}}"#, MediaType::OCI_CONFIG)
    }

    fn manifest(media_type: &str) -> String {
        let config = descriptor(DIGEST);
        format!(r#"{{"schemaVersion":2{media_type},"config":{config},"layers":[]}}"#)
    }

    fn typed(media_type: &str) -> String {
        format!(r#","mediaType":"{media_type}""#)
    }

    fn parse(text: &str, content_type: Option<&str>) -> Result<Document, String> {
        parse_manifest(text.as_bytes(), content_type).map_err(|error| error.to_string())
    }

    #[test]
    fn both_kinds_in_both_spellings() {
        for media_type in [MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST] {
            let text = manifest(&typed(media_type));
            let with_charset = format!("{media_type}; charset=utf-8");
            for content_type in [None, Some(media_type), Some(&with_charset), Some("application/json")] {
                assert!(matches!(parse(&text, content_type), Ok(Document::Manifest(_))), "{content_type:?}");
            }
        }
        for media_type in [MediaType::OCI_INDEX, MediaType::DOCKER_INDEX] {
            let text = format!(r#"{{"schemaVersion":2{},"manifests":[]}}"#, typed(media_type));
            assert!(matches!(parse(&text, Some(media_type)), Ok(Document::Index(_))));
        }
        assert!(matches!(parse(&manifest(""), None), Ok(Document::Manifest(_))));
        assert!(matches!(parse(r#"{"schemaVersion":2,"manifests":[]}"#, None), Ok(Document::Index(_))));
    }

    #[test]
    fn a_document_of_two_kinds_is_refused() {
        let both =
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}}"#, descriptor(DIGEST));
        assert!(parse(&both, None).unwrap_err().contains("both"));
        let typed_both = both.replacen(",", &format!("{},", typed(MediaType::OCI_INDEX)), 1);
        assert!(parse(&typed_both, Some(MediaType::OCI_INDEX)).unwrap_err().contains("both"));
    }

    #[test]
    fn inside_and_envelope_must_agree() {
        let text = manifest(&typed(MediaType::OCI_MANIFEST));
        for envelope in [MediaType::OCI_INDEX, MediaType::DOCKER_MANIFEST] {
            assert!(parse(&text, Some(envelope)).unwrap_err().contains("delivered as"));
        }
        assert!(parse(&manifest(""), Some(MediaType::OCI_INDEX)).is_err());
        assert!(parse(&manifest(&typed(MediaType::OCI_INDEX)), None).is_err());
        assert!(parse(&manifest(&typed("text/html")), None).is_err());
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let v1 = r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#;
        assert!(parse(v1, None).unwrap_err().contains("schema 1"));
        for text in
            ["", "null", "[]", "{}", r#"{"schemaVersion":2}"#, "{\"schemaVersion\":2,\"manifests\":7}"]
        {
            assert!(parse(text, None).is_err(), "{text}");
        }
        assert!(parse(&manifest("").replace("\":2,", "\":3,"), None).is_err());
    }

    #[test]
    fn bad_digests_are_refused_wherever_they_are() {
        let bad = [
            "sha256:../../etc/passwd",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "",
            "sha256:",
            "../x",
            "sha256:AB",
        ];
        for digest in bad {
            let d = descriptor(digest);
            let good = descriptor(DIGEST);
            for text in [
                format!(r#"{{"schemaVersion":2,"config":{d},"layers":[]}}"#),
                format!(r#"{{"schemaVersion":2,"config":{good},"layers":[{d}]}}"#),
                format!(r#"{{"schemaVersion":2,"config":{good},"layers":[],"subject":{d}}}"#),
                format!(r#"{{"schemaVersion":2,"manifests":[{d}]}}"#),
            ] {
                assert!(parse(&text, None).is_err(), "{text}");
            }
            let config = format!(
                r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#
            );
            assert!(parse_config(config.as_bytes()).is_err());
        }
    }

    #[test]
    fn sizes_and_counts_have_limits() {
        assert!(parse(&" ".repeat(MAX_MANIFEST + 1), None).unwrap_err().contains("limit"));
        let entry = descriptor(DIGEST);
        let layers = vec![entry.as_str(); MAX_LAYERS + 1].join(",");
        let text = format!(r#"{{"schemaVersion":2,"config":{entry},"layers":[{layers}]}}"#);
        assert!(parse(&text, None).unwrap_err().contains("501 layers"));
        let index = |count: usize| {
            format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, vec![entry.as_str(); count].join(","))
        };
        assert!(parse(&index(MAX_INDEX_ENTRIES), None).is_ok());
        assert!(parse(&index(MAX_INDEX_ENTRIES + 1), None).unwrap_err().contains("10001 entries"));
        assert!(parse(&index(100_000), None).unwrap_err().contains("bytes"));
        assert!(parse(&"[".repeat(200_000), None).is_err());
        let deep = format!(r#"{{"schemaVersion":2,"manifests":{}}}"#, "[".repeat(200_000));
        assert!(parse(&deep, None).is_err());
        assert!(parse_config(&vec![b' '; MAX_CONFIG + 1]).unwrap_err().to_string().contains("limit"));
    }

    #[test]
    fn layers_and_diff_ids_must_match_in_number() {
        let Ok(Document::Manifest(manifest)) = parse(&manifest(""), None) else { panic!() };
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{DIGEST}"]}}}}"#
        );
        let error = parse_image(manifest, config.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("0 layers, the configuration 1"), "{error}");
    }
}
