//! The output of one step on a terminal: its last lines while it runs, all of it should it fail.

use std::collections::VecDeque;

use super::clean::{Cleaner, Part};
use super::width::RESET;

/// Bytes of a line that are kept: no terminal shows more on one.
const MAX_LINE: usize = 4 << 10;
/// Bytes of a step's output that are kept for the case that it fails: some 50,000 lines.
const MAX_KEPT: usize = 4 << 20;
/// Bytes of colours that a line takes over from the one before.
const MAX_COLOURS: usize = 64;

/// What a step wrote.
#[derive(Debug)]
pub(super) struct Tail {
    cleaner: Cleaner,
    open: OpenLine,
    /// The last whole lines.
    lines: VecDeque<String>,
    most: usize,
    /// The last bytes as written.
    kept: VecDeque<u8>,
    /// Bytes before those.
    lost: u64,
}

impl Tail {
    /// Nothing yet; `most` lines are wanted at a time, with their colours if those are wanted.
    pub(super) fn new(most: usize, coloured: bool) -> Self {
        Tail {
            cleaner: Cleaner::new(coloured),
            open: OpenLine::default(),
            lines: VecDeque::new(),
            most,
            kept: VecDeque::new(),
            lost: 0,
        }
    }

    /// Takes what was written.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let (open, lines, most) = (&mut self.open, &mut self.lines, self.most);
        self.cleaner.feed(bytes, &mut |part| {
            lines.extend(open.put(part));
            lines.drain(..lines.len().saturating_sub(most));
        });
        self.kept.extend(bytes);
        let over = self.kept.len().saturating_sub(MAX_KEPT);
        self.kept.drain(..over);
        self.lost += over as u64;
    }

    /// The last lines, the one that is being written among them.
    pub(super) fn last(&self) -> Vec<&str> {
        let open = Some(self.open.text.as_str()).filter(|text| !text.is_empty());
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).chain(open).collect();
        lines[lines.len().saturating_sub(self.most)..].to_vec()
    }

    /// All of it, line by line, after the number of bytes that are not here any more.
    pub(super) fn whole(self, coloured: bool) -> (u64, Vec<String>) {
        let (mut cleaner, mut open, mut lines) = (Cleaner::new(coloured), OpenLine::default(), Vec::new());
        let (front, back) = self.kept.as_slices();
        for bytes in [front, back, b"\n"] {
            cleaner.feed(bytes, &mut |part| lines.extend(open.put(part)));
        }
        if lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        (self.lost, lines)
    }
}

/// The lines of a log, without what steers a terminal.
pub(crate) fn readable(log: &str, coloured: bool) -> String {
    let (mut cleaner, mut open, mut lines) = (Cleaner::new(coloured), OpenLine::default(), Vec::new());
    cleaner.feed(log.as_bytes(), &mut |part| lines.extend(open.put(part)));
    lines.push(open.end());
    lines.join("\n")
}

/// A line as a terminal would show it.
#[derive(Debug, Default)]
struct OpenLine {
    text: String,
    /// Whether the next character begins the line again.
    again: bool,
    /// The colours in force.
    colours: String,
}

impl OpenLine {
    /// The line that `part` completes.
    fn put(&mut self, part: Part<'_>) -> Option<String> {
        match part {
            Part::Text(text) => {
                self.begin_again();
                let room = MAX_LINE.saturating_sub(self.text.len());
                self.text.push_str(&text[..text.floor_char_boundary(room)]);
            }
            Part::Colour(colour) => {
                self.begin_again();
                self.colours = in_force(std::mem::take(&mut self.colours), colour);
                if self.text.len() < MAX_LINE {
                    self.text.push_str(colour);
                }
            }
            Part::Return => self.again = true,
            Part::End => return Some(self.end()),
        }
        None
    }

    fn begin_again(&mut self) {
        if std::mem::take(&mut self.again) {
            self.text.clone_from(&self.colours);
        }
    }

    fn end(&mut self) -> String {
        self.again = false;
        let mut line = std::mem::replace(&mut self.text, self.colours.clone());
        if line.contains('\x1b') && !line.ends_with(RESET) {
            line.push_str(RESET);
        }
        line
    }
}

/// The colours after one more sequence.
fn in_force(colours: String, colour: &str) -> String {
    match colour {
        "\x1b[m" | RESET => String::new(),
        _ if colour.starts_with("\x1b[0;") || colours.len() + colour.len() > MAX_COLOURS => colour.to_owned(),
        _ => colours + colour,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_of(bytes: &[u8], most: usize, coloured: bool) -> Tail {
        let mut tail = Tail::new(most, coloured);
        tail.push(bytes);
        tail
    }

    #[test]
    fn the_last_lines_and_the_open_one() {
        assert_eq!(tail_of(b"one\ntwo\nthree\nfo", 2, false).last(), ["three", "fo"]);
        assert_eq!(tail_of(b"10%\r20%\r30%\r", 2, false).last(), ["30%"]);
        assert_eq!(tail_of(b"10%\r100%\r\nnext\r\n", 3, false).last(), ["100%", "next"]);
        assert_eq!(tail_of("é".repeat(MAX_LINE).as_bytes(), 1, false).last()[0].len(), MAX_LINE);
    }

    #[test]
    fn colours_go_on_in_the_next_line_and_end_with_each() {
        let text = b"\x1b[31mred\nstill\x1b[0m not\n";
        assert_eq!(tail_of(text, 9, true).last(), ["\x1b[31mred\x1b[0m", "\x1b[31mstill\x1b[0m not\x1b[0m"]);
        assert_eq!(tail_of(text, 9, false).last(), ["red", "still not"]);
    }

    #[test]
    fn a_log_becomes_readable() {
        assert_eq!(readable("a\x1b[2Jb\n1%\r2%\n\x1b]0;t\x07\x1b[31mc", false), "ab\n2%\nc");
    }

    #[test]
    fn all_of_it_is_there_at_the_end() {
        let mut tail = Tail::new(2, false);
        for number in 0..10_000 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        let (lost, lines) = tail.whole(false);
        assert_eq!((lost, lines.len(), lines[0].as_str()), (0, 10_000, "line 0"));
        let mut tail = Tail::new(2, false);
        tail.push(&vec![b'x'; MAX_KEPT]);
        tail.push(b"yz\nend");
        assert_eq!(tail.kept.len(), MAX_KEPT);
        let (lost, lines) = tail.whole(false);
        assert_eq!((lost, lines.len(), lines[1].as_str()), (6, 2, "end"));
    }
}
