//! Whether an image's derived values agree with its bytes.
