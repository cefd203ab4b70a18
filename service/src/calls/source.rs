//! Places in a Dockerfile as BuildKit's JSON has them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// Lines of a file, one range each.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Location {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<Range>,
}

/// A run of text; of one line here.
#[derive(Debug, Serialize)]
pub struct Range {
    start: Position,
    end: Position,
}

#[derive(Debug, Serialize)]
struct Position {
    line: u32,
}

impl Location {
    /// The lines from `first` to `last`.
    pub(crate) fn of(first: u32, last: u32) -> Self {
        Location { ranges: ranges(first, last) }
    }
}

/// The lines from `first` to `last`.
pub fn ranges(first: u32, last: u32) -> Vec<Range> {
    let range = |line| Range { start: Position { line }, end: Position { line } };
    (first..=last.max(first)).map(range).collect()
}

/// Bytes as JSON has them.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
