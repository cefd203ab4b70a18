//! `LABEL name=value …`.

use super::key_value::{KeyValue, key_values};
use super::{Line, Problem};

/// Labels that are set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// In order.
    pub labels: Vec<KeyValue>,
}

pub(super) fn parse(line: &Line<'_>) -> Result<Label, Problem> {
    Ok(Label { labels: key_values(line)? })
}
