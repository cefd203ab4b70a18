//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` (neither takes a line feed) and escapes.

use super::ExpandError;

/// Longest pattern, in characters.
const MAX_PATTERN: usize = 1024;
/// Longest value that a pattern is applied to, in characters.
const MAX_SUBJECT: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Literal(char),
    One,
    Any,
}

/// A pattern; matching takes time proportional to pattern times text.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Vec<Piece>);

impl Pattern {
    /// Reads a pattern; the escape is a backslash, whatever the file says.
    pub(super) fn new(text: &str) -> Result<Self, ExpandError> {
        let mut pieces = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' if pieces.last() == Some(&Piece::Any) => {}
                '*' => pieces.push(Piece::Any),
                '?' => pieces.push(Piece::One),
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => pieces.push(Piece::Literal(c)),
                    _ => return Err(ExpandError::PatternEscape(text.chars().take(100).collect())),
                },
                _ => pieces.push(Piece::Literal(c)),
            }
        }
        if pieces.len() > MAX_PATTERN { Err(ExpandError::Pattern) } else { Ok(Pattern(pieces)) }
    }

    pub(super) fn trim_prefix(&self, value: &str, longest: bool) -> Option<String> {
        let text = subject(value)?;
        let end = self.end(text.iter().copied(), longest).unwrap_or(0);
        Some(text[end..].iter().collect())
    }

    pub(super) fn trim_suffix(&self, value: &str, longest: bool) -> Option<String> {
        let text = subject(value)?;
        let backwards = Pattern(self.0.iter().rev().copied().collect());
        let taken = backwards.end(text.iter().rev().copied(), longest).unwrap_or(0);
        Some(text[..text.len() - taken].iter().collect())
    }

    /// Replaces the first or every longest match, empty ones included where no match ends; `None` where something is
    /// too long.
    pub(super) fn replace(&self, value: &str, with: &str, all: bool, max: usize) -> Option<String> {
        let text = subject(value)?;
        let starts = self.starts(&text);
        let (mut out, mut at, mut after_match) = (String::new(), 0, false);
        while let Some(start) = (at..=text.len()).find(|start| starts[*start]) {
            let length = self.end(text[start..].iter().copied(), true).unwrap_or(0);
            out.extend(&text[at..start]);
            if length > 0 || !(after_match && start == at) {
                out.push_str(with);
            }
            // Behind an empty match goes on with the next character.
            let skipped = if length == 0 { text.get(start..=start).unwrap_or_default() } else { &[] };
            out.extend(skipped);
            (at, after_match) = (start + length.max(1), length > 0);
            if !all || at > text.len() || out.len() > max {
                break;
            }
        }
        out.extend(text.get(at..).unwrap_or_default());
        (out.len() <= max).then_some(out)
    }

    /// Where a match that begins at the start of `text` ends.
    fn end(&self, text: impl Iterator<Item = char>, longest: bool) -> Option<usize> {
        let mut states = vec![false; self.0.len() + 1];
        states[0] = true;
        self.close(&mut states);
        let mut found = states[self.0.len()].then_some(0);
        for (at, c) in text.enumerate() {
            if (found.is_some() && !longest) || !self.step(&mut states, c) {
                break;
            }
            if states[self.0.len()] {
                found = Some(at + 1);
            }
        }
        found
    }

    /// At which positions a match begins: the backwards pattern run from the end, begun anew everywhere.
    fn starts(&self, text: &[char]) -> Vec<bool> {
        let backwards = Pattern(self.0.iter().rev().copied().collect());
        let mut states = vec![false; self.0.len() + 1];
        let mut found = vec![false; text.len() + 1];
        for at in (0..=text.len()).rev() {
            if let Some(c) = text.get(at) {
                backwards.step(&mut states, *c);
            }
            states[0] = true;
            backwards.close(&mut states);
            found[at] = states[self.0.len()];
        }
        found
    }

    /// Takes one character; whether any state is left.
    fn step(&self, states: &mut [bool], c: char) -> bool {
        // Downwards, so that each state is read before it is written.
        for at in (1..states.len()).rev() {
            let stays = c != '\n' && states[at] && self.0.get(at) == Some(&Piece::Any);
            let comes = states[at - 1]
                && match self.0[at - 1] {
                    Piece::Any => false,
                    Piece::One => c != '\n',
                    Piece::Literal(wanted) => wanted == c,
                };
            states[at] = stays || comes;
        }
        states[0] = c != '\n' && states[0] && self.0.first() == Some(&Piece::Any);
        self.close(states);
        states.contains(&true)
    }

    /// A star may match nothing.
    fn close(&self, states: &mut [bool]) {
        for (at, piece) in self.0.iter().enumerate() {
            if *piece == Piece::Any && states[at] {
                states[at + 1] = true;
            }
        }
    }
}

fn subject(value: &str) -> Option<Vec<char>> {
    let text: Vec<char> = value.chars().collect();
    (text.len() <= MAX_SUBJECT).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The obvious way, exponential.
    fn matches(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
            Some((p, rest)) => {
                text.split_first().is_some_and(|(t, tail)| (*p == '?' || p == t) && matches(rest, tail))
            }
        }
    }

    /// Go's way: an empty match counts except right behind another match.
    fn replaced(pattern: &[char], text: &[char]) -> String {
        let mut out = String::new();
        let (mut at, mut last) = (0, None);
        while at <= text.len() {
            let end = (at..=text.len()).rev().find(|end| matches(pattern, &text[at..*end]));
            if let Some(end) = end.filter(|end| *end > at || last != Some(at)) {
                out.push('_');
                last = Some(end);
                if end > at {
                    at = end;
                    continue;
                }
            }
            out.extend(text.get(at));
            at += 1;
        }
        out
    }

    proptest! {
        #[test]
        fn states_agree_with_backtracking(pattern in "[ab*?]{0,5}", text in "[ab]{0,7}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            let subject = Pattern::new(&pattern).unwrap();
            let ends: Vec<usize> = (0..=t.len()).filter(|end| matches(&p, &t[..*end])).collect();
            let after = |end: Option<&usize>| t[end.copied().unwrap_or(0)..].iter().collect::<String>();
            prop_assert_eq!(subject.trim_prefix(&text, false).unwrap(), after(ends.first()));
            prop_assert_eq!(subject.trim_prefix(&text, true).unwrap(), after(ends.last()));
            let starts: Vec<usize> = (0..=t.len()).filter(|start| matches(&p, &t[*start..])).collect();
            let before = |start: Option<&usize>| t[..start.copied().unwrap_or(t.len())].iter().collect::<String>();
            prop_assert_eq!(subject.trim_suffix(&text, false).unwrap(), before(starts.last()));
            prop_assert_eq!(subject.trim_suffix(&text, true).unwrap(), before(starts.first()));
            prop_assert_eq!(subject.replace(&text, "_", true, 100).unwrap(), replaced(&p, &t));
        }
    }

    #[test]
    fn long_subjects_are_refused() {
        assert!(Pattern::new(&"?".repeat(MAX_PATTERN + 1)).is_err());
        let pattern = Pattern::new("*").unwrap();
        assert!(pattern.trim_prefix(&"a".repeat(MAX_SUBJECT + 1), true).is_none());
    }
}
