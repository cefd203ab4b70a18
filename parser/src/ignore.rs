//! `.dockerignore` files: read by [`IgnoreFile`], carried by the graph as lines.

pub use kiln_graph::ignore::{Decision, IgnoreError, IgnoreFile, MAX_IGNORE_FILE, Matched};

/// The lines of a `.dockerignore` for [`crate::PlanOptions::context_exclude`], one entry a line of the file, so that
/// positions stay line numbers. `IgnoreFile::parse(lines.join("\n"))` reads them again.
pub fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    text.lines().map(str::to_owned).collect()
}
