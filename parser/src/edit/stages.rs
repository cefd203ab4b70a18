//! Stages, and what an instruction calls one.

use std::ops::Range;

use super::Document;
use super::joined::range_of;
use crate::Stage;

impl Document {
    /// The stages that begin before a line.
    pub(super) fn stages_above(&self, line: u32) -> &[Stage] {
        let count = self.file.stages.partition_point(|stage| stage.span.first < line);
        &self.file.stages[..count]
    }

    /// The stages that `FROM` on a line may begin with.
    pub(super) fn bases(&self, line: u32) -> &[Stage] {
        self.stages_above(line)
    }

    /// The stages that an instruction on a line may take files from: those that are complete.
    pub(super) fn sources(&self, line: u32) -> &[Stage] {
        self.stages_above(line).split_last().map_or(&[], |(_, before)| before)
    }

    /// The index of the stage that a line belongs to.
    pub(super) fn stage_of(&self, line: u32) -> Option<usize> {
        self.stages_above(line.saturating_add(1)).len().checked_sub(1)
    }

    /// The stage's name in its `FROM`, or its image where it has none.
    pub(super) fn stage_bytes(&self, index: usize) -> Option<Range<usize>> {
        let stage = self.file.stages.get(index)?;
        let joined = self.joined_at_line(stage.span)?;
        let word = words(&joined.text, joined.cut().rest).pop()?;
        Some(joined.in_file(word))
    }

    /// How a stage is called: its name, or its number.
    pub(super) fn stage_title(&self, index: usize) -> String {
        let name = self.file.stages.get(index).and_then(|stage| stage.from.name.clone());
        name.unwrap_or_else(|| index.to_string())
    }
}

/// The index of the stage that `name` means among `stages`, the later of two with one name. `--from` also takes
/// numbers and names in any case; `FROM` does not.
pub(super) fn find(stages: &[Stage], name: &str, is_flag: bool) -> Option<usize> {
    let number = name.parse().ok().filter(|number| is_flag && *number < stages.len());
    let lower = if is_flag { name.to_lowercase() } else { name.to_owned() };
    let named = || stages.iter().rposition(|stage| stage.from.name.as_deref() == Some(lower.as_str()));
    number.or_else(named)
}

/// The words of a text without quotes, each with its place.
pub(super) fn words(text: &str, within: Range<usize>) -> Vec<Range<usize>> {
    text[within]
        .split(crate::words::is_separator)
        .filter(|word| !word.is_empty())
        .map(|word| range_of(text, word))
        .collect()
}
