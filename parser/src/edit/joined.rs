//! The lines of an instruction joined as the parser joins them, with the way back to the text.

use std::ops::Range;

use crate::SourceFile;
use crate::flags::{flag_word, split};
use crate::lines::{continuation, trim_line_end};
use crate::pieces::{Part, PartKind};

/// One logical line.
#[derive(Debug)]
pub(super) struct Joined {
    /// What the parser reads.
    pub(super) text: String,
    segments: Vec<Segment>,
    pub(super) escape: char,
}

/// What one physical line gave.
#[derive(Debug)]
struct Segment {
    /// Where it begins in the joined text.
    at: usize,
    /// Where it is in the file.
    bytes: Range<usize>,
}

/// An instruction's text in ranges of the joined one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// The keyword; behind `ONBUILD`, that of the trigger.
    pub(super) keyword: Range<usize>,
    /// Each `--…` word as it is written.
    pub(super) flags: Vec<Range<usize>>,
    /// What follows.
    pub(super) rest: Range<usize>,
}

impl Joined {
    /// Joins an instruction's lines.
    pub(super) fn new(parts: &[Part], source: &SourceFile, escape: char) -> Self {
        let mut joined = Joined { text: String::new(), segments: Vec::new(), escape };
        for part in parts.iter().filter(|part| part.kind == PartKind::Text) {
            let line = part.text(source);
            let first = joined.segments.is_empty();
            let skipped = if first { line.len() - line.trim_start().len() } else { 0 };
            let (content, _) = continuation(trim_line_end(&line[skipped..]), escape);
            let start = part.bytes.start + skipped;
            joined.segments.push(Segment { at: joined.text.len(), bytes: start..start + content.len() });
            joined.text.push_str(content);
        }
        joined
    }

    /// Where a range of the joined text is in the file.
    pub(super) fn in_file(&self, range: Range<usize>) -> Range<usize> {
        let segment = |at: usize| {
            let after = self.segments.partition_point(|segment| segment.at <= at);
            self.segments.get(after.saturating_sub(1))
        };
        let place = |at: usize| segment(at).map_or(0, |segment| segment.bytes.start + at - segment.at);
        // The end belongs to the line of the last character, not to the line after it.
        let end = if range.end > range.start { place(range.end - 1) + 1 } else { place(range.start) };
        place(range.start)..end
    }

    /// Where an offset of the file is in the joined text; between lines, where the next one begins.
    pub(super) fn at(&self, offset: usize) -> usize {
        let next = self.segments.iter().find(|segment| offset <= segment.bytes.end);
        next.map_or(self.text.len(), |segment| segment.at + offset.saturating_sub(segment.bytes.start))
    }

    /// The keyword; `ONBUILD` where there are two.
    pub(super) fn first_word(&self) -> Range<usize> {
        cut(&self.text, 0, self.escape).keyword
    }

    /// The text cut at keyword and flags.
    pub(super) fn cut(&self) -> Cut {
        let text = self.text.as_str();
        let whole = cut(text, 0, self.escape);
        if !text[whole.keyword.clone()].eq_ignore_ascii_case("ONBUILD") || whole.rest.is_empty() {
            return whole;
        }
        cut(&text[..whole.rest.end], whole.rest.start, self.escape)
    }
}

/// Cuts what begins at `start`.
fn cut(text: &str, start: usize, escape: char) -> Cut {
    let split = split(&text[start..], escape);
    let keyword = range_of(text, split.keyword);
    let rest = if split.rest.is_empty() { text.len()..text.len() } else { range_of(text, split.rest) };
    let mut flags = Vec::new();
    let mut at = keyword.end;
    while let Some(found) = text.get(at..rest.start).map(str::trim_start).filter(|left| !left.is_empty()) {
        let (_, after) = flag_word(found, escape);
        let flag = range_of(text, &found[..found.len() - after.len()]);
        at = flag.end;
        flags.push(flag);
    }
    Cut { keyword, flags, rest }
}

/// Where a part of `whole` is in it.
pub(super) fn range_of(whole: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize).min(whole.len());
    start..start + part.len()
}
