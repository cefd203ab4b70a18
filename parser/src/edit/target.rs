//! What is at an offset: a word of the language, a stage, a variable.

use std::ops::Range;

use super::joined::{Cut, Joined};
use super::reference::{self, FlagEntry, FlagValue, InstructionEntry, MOUNT_KINDS, MountOption};
use super::variables::{declared, variable_at};
use super::{Document, stages};
use crate::pieces::PartKind;

/// What an offset is in.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) what: What,
    /// Its bytes in the file.
    pub(super) bytes: Range<usize>,
    /// The first line of the instruction.
    pub(super) line: u32,
}

/// What there is to point at.
#[derive(Debug)]
pub(super) enum What {
    Instruction(&'static InstructionEntry),
    Flag(&'static FlagEntry),
    /// A type of mount and what it is.
    MountKind(&'static str, &'static str),
    MountOption(&'static MountOption),
    /// A stage by its index.
    Stage(usize),
    /// A variable that is used.
    Variable(String),
    /// A variable where it is set.
    Declaration(String),
}

/// What is at an offset.
pub(super) fn target(document: &Document, at: usize) -> Option<Target> {
    let at = document.text().floor_char_boundary(at);
    let (piece, parts) = document.instruction_at(at)?;
    let line = piece.span.first;
    let part = parts.iter().rev().find(|part| part.bytes.start <= at)?;
    if matches!(part.kind, PartKind::Body) {
        let bytes = variable_at(document.text(), at)?;
        let what = What::Variable(document.text()[bytes.clone()].to_owned());
        return Some(Target { what, bytes, line });
    }
    if part.kind != PartKind::Text {
        return None;
    }
    let joined = Joined::new(parts, document.source(), document.escape());
    let (what, range) = Finder { document, line, joined: &joined, at: joined.at(at) }.find()?;
    Some(Target { what, bytes: joined.in_file(range), line })
}

struct Finder<'a> {
    document: &'a Document,
    line: u32,
    joined: &'a Joined,
    at: usize,
}

impl Finder<'_> {
    fn text(&self, range: Range<usize>) -> &str {
        &self.joined.text[range]
    }

    fn holds(&self, range: &Range<usize>) -> bool {
        (range.start..=range.end).contains(&self.at)
    }

    fn find(&self) -> Option<(What, Range<usize>)> {
        if let Some(range) = variable_at(&self.joined.text, self.at) {
            return Some((What::Variable(self.text(range.clone()).to_owned()), range));
        }
        let cut = self.joined.cut();
        let keywords = [self.joined.first_word(), cut.keyword.clone()];
        if let Some(range) = keywords.into_iter().find(|range| self.holds(range)) {
            return Some((What::Instruction(reference::instruction(self.text(range.clone()))?), range));
        }
        let entry = reference::instruction(self.text(cut.keyword.clone()))?;
        match cut.flags.iter().find(|range| self.holds(range)) {
            Some(flag) => self.flag(entry, flag.clone()),
            None => self.argument(entry, &cut),
        }
    }

    fn flag(&self, entry: &InstructionEntry, flag: Range<usize>) -> Option<(What, Range<usize>)> {
        let text = self.text(flag.clone());
        let name_end = flag.start + text.find('=').unwrap_or(text.len());
        let known = entry.flags.iter().find(|known| self.text(flag.start..name_end)[2..] == *known.name)?;
        let (name, value) = (flag.start..name_end, (name_end + 1).min(flag.end)..flag.end);
        if self.holds(&name) {
            return Some((What::Flag(known), name));
        }
        match known.value {
            FlagValue::Stage => self.stage(value),
            FlagValue::Mount => self.mount(value),
            _ => Some((What::Flag(known), name)),
        }
    }

    /// A stage that files come from.
    fn stage(&self, name: Range<usize>) -> Option<(What, Range<usize>)> {
        let index = stages::find(self.document.sources(self.line), self.text(name.clone()), true)?;
        Some((What::Stage(index), name))
    }

    fn mount(&self, value: Range<usize>) -> Option<(What, Range<usize>)> {
        let mut start = value.start;
        let field = self.text(value).split(',').find_map(|field| {
            let range = start..start + field.len();
            start = range.end + 1;
            self.holds(&range).then_some(range)
        })?;
        let text = self.text(field.clone());
        let end = field.start + text.find('=').unwrap_or(text.len());
        let (key, value) = (field.start..end, (end + 1).min(field.end)..field.end);
        let name = self.text(key.clone());
        if self.at > key.end && name.eq_ignore_ascii_case("from") {
            return self.stage(value);
        }
        if self.at > key.end && name.eq_ignore_ascii_case("type") {
            let (kind, about) = MOUNT_KINDS.iter().find(|(kind, _)| *kind == self.text(value.clone()))?;
            return Some((What::MountKind(kind, about), value));
        }
        Some((What::MountOption(reference::mount_option(name)?), key))
    }

    fn argument(&self, entry: &InstructionEntry, cut: &Cut) -> Option<(What, Range<usize>)> {
        match entry.keyword {
            "FROM" => {
                let words = stages::words(&self.joined.text, cut.rest.clone());
                match words.iter().position(|range| self.holds(range))? {
                    0 => {
                        let name = self.text(words[0].clone());
                        let index = stages::find(self.document.bases(self.line), name, false)?;
                        Some((What::Stage(index), words[0].clone()))
                    }
                    2 => Some((What::Stage(self.document.stage_of(self.line)?), words[2].clone())),
                    _ => None,
                }
            }
            _ => {
                let range = declared(self.joined).into_iter().find(|range| self.holds(range))?;
                Some((What::Declaration(self.text(range.clone()).to_owned()), range))
            }
        }
    }
}
