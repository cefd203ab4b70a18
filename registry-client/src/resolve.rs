//! From references to verified documents.

use bytes::Bytes;
use kiln_oci::Descriptor;

/// What a reference names.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The document's media type, digest and size.
    pub descriptor: Descriptor,
    /// The document's bytes, verified.
    pub bytes: Bytes,
    /// The host that answered: the registry or a mirror.
    pub host: String,
}
