//! The names inside an OCI image layout (image-spec, image-layout.md).

use crate::Digest;

/// The file that marks a layout and tells its version.
pub const LAYOUT_FILE: &str = "oci-layout";
/// The content of `oci-layout`.
pub const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The file that lists a layout's images.
pub const INDEX_FILE: &str = "index.json";
/// The directory of all blobs.
pub const BLOBS_DIR: &str = "blobs";
/// The annotation that holds a tag, or by long use a whole reference.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation in which containerd and Docker keep the whole reference.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// Where the blob of `digest` is, relative to the layout.
pub fn blob_path(digest: &Digest) -> String {
    format!("{BLOBS_DIR}/{}/{}", digest.algorithm().name(), digest.hex())
}

/// The digest whose blob is at `path`, where `path` is a blob's.
pub fn blob_digest(path: &str) -> Option<Digest> {
    let (algorithm, hex) = path.strip_prefix(BLOBS_DIR)?.strip_prefix('/')?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_digests_mirror_each_other() {
        let digest = Digest::of(b"x");
        assert_eq!(blob_digest(&blob_path(&digest)), Some(digest));
        for path in ["blobs/sha256/..", "blobs/md5/00", "blob/sha256/x", "blobs", "index.json"] {
            assert_eq!(blob_digest(path), None, "{path}");
        }
    }
}
