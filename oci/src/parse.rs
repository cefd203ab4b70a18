//! Documents from strangers: size caps, one meaning only, and every digest parsed before it is used.

use serde_json::value::RawValue;

use crate::media_type::Kind;
use crate::{DiffId, ImageConfig, Index, Manifest, MediaType};

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

/// Parses a manifest or index that was delivered as `content_type`.
pub fn parse_manifest(bytes: &[u8], content_type: Option<&str>) -> Result<Document, ParseError> {
    let _ = (bytes, content_type);
    todo!()
}

/// Parses an image configuration.
pub fn parse_config(bytes: &[u8]) -> Result<ImageConfig, ParseError> {
    let _ = bytes;
    todo!()
}
