//! The lines of one step on their way to a plain log: with the time, without what steers a terminal, never clipped.
//!
//! A line is passed on when it ends; one that lasts, such as a row of dots, in pieces. Of a line that is written again
//! and again, as programs draw their bars, a state is passed on every few seconds, and the last.

use std::time::{Duration, SystemTime};

use super::clean::{Cleaner, Part};
use super::width::RESET;

/// The time between two states of a line that is written again and again.
const STATE_EVERY: Duration = Duration::from_secs(5);
/// An open line that has not grown for so long is passed on as far as it is.
const LASTS: Duration = Duration::from_secs(1);
/// Bytes of an open line that are held back.
const MAX_OPEN: usize = 64 << 10;

/// What a step says.
#[derive(Debug)]
pub(super) struct Speech {
    cleaner: Cleaner,
    lines: Lines,
}

#[derive(Debug)]
struct Lines {
    /// What may be printed: lines, the last of which may have no end.
    ready: String,
    /// Whether what is printed and ready ends within a line.
    within: bool,
    /// Whether what is printed does.
    printed_within: bool,
    /// The line that is being written.
    open: String,
    /// Whether the next character begins it again.
    again: bool,
    /// When the open line grew.
    grew: SystemTime,
    /// When a state of a line was passed on.
    passed_on: SystemTime,
    /// How long after the step's start that was which is being written.
    elapsed: Duration,
}

impl Speech {
    /// Nothing yet; `now` is when the step began.
    pub(super) fn new(coloured: bool, now: SystemTime) -> Self {
        let lines = Lines {
            ready: String::new(),
            within: false,
            printed_within: false,
            open: String::new(),
            again: false,
            grew: now,
            passed_on: now,
            elapsed: Duration::ZERO,
        };
        Speech { cleaner: Cleaner::new(coloured), lines }
    }

    /// Takes output of the step, `elapsed` after its start.
    pub(super) fn write(&mut self, bytes: &[u8], elapsed: Duration, now: SystemTime) {
        self.lines.elapsed = elapsed;
        let lines = &mut self.lines;
        self.cleaner.feed(bytes, &mut |part| lines.put(part, now));
    }

    /// Takes a line of our own.
    pub(super) fn line(&mut self, line: &str) {
        self.lines.close();
        self.lines.ready.push_str(line);
        self.lines.ready.push('\n');
    }

    /// Ends the line that is open.
    pub(super) fn end(&mut self) {
        self.lines.close();
    }

    /// Passes an open line on that does not grow; whether there is one.
    pub(super) fn pause(&mut self, now: SystemTime) -> bool {
        let lines = &mut self.lines;
        let lasts = now.duration_since(lines.grew).is_ok_and(|time| time >= LASTS);
        let is_due = lasts && !lines.open.is_empty() && !lines.again;
        if is_due {
            lines.pass_open_on();
        }
        is_due
    }

    /// Whether nothing is to be printed.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.ready.is_empty()
    }

    /// Bytes that are to be printed.
    pub(super) fn waiting(&self) -> usize {
        self.lines.ready.len()
    }

    /// What is to be printed, each line after `#number`.
    pub(super) fn take(&mut self, number: usize) -> String {
        let ready = std::mem::take(&mut self.lines.ready);
        let mut text = String::with_capacity(ready.len() + 64);
        for line in ready.split_inclusive('\n') {
            if !self.lines.printed_within {
                text.push_str(&format!("#{number} "));
            }
            text.push_str(line);
            self.lines.printed_within = !line.ends_with('\n');
        }
        text
    }

    /// Another step is printed now: whether the line that is open on the output has to be ended before. What is still
    /// to come of it will be a line of its own.
    pub(super) fn leave_line(&mut self) -> bool {
        self.lines.within = false;
        std::mem::take(&mut self.lines.printed_within)
    }
}

impl Lines {
    fn put(&mut self, part: Part<'_>, now: SystemTime) {
        match part {
            Part::End => self.end_line(),
            Part::Return => self.again = true,
            Part::Text(text) | Part::Colour(text) => {
                self.begin_again(now);
                self.open.push_str(text);
                self.grew = now;
                if self.open.len() > MAX_OPEN {
                    self.pass_open_on();
                }
            }
        }
    }

    /// The state so far is over: passed on if that was not done for a while.
    fn begin_again(&mut self, now: SystemTime) {
        if !std::mem::take(&mut self.again) {
            return;
        }
        let is_due = now.duration_since(self.passed_on).is_ok_and(|time| time >= STATE_EVERY);
        if is_due || self.within {
            self.passed_on = now;
            self.close();
        }
        self.open.clear();
    }

    fn pass_open_on(&mut self) {
        if !self.within {
            self.ready.push_str(&format!("{} ", time(self.elapsed)));
            self.within = true;
        }
        // What follows may be another step's.
        if self.open.contains('\x1b') && !self.open.ends_with(RESET) {
            self.open.push_str(RESET);
        }
        self.ready.push_str(&std::mem::take(&mut self.open));
    }

    fn end_line(&mut self) {
        self.again = false;
        self.pass_open_on();
        self.ready.push('\n');
        self.within = false;
    }

    /// Ends the line if there is one.
    fn close(&mut self) {
        if self.within || !self.open.is_empty() {
            self.end_line();
        }
    }
}

/// Seconds in four digits or more, as BuildKit writes them.
fn time(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let digits = match seconds {
        s if s < 10.0 => 3,
        s if s < 100.0 => 2,
        _ => 1,
    };
    format!("{seconds:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    /// What is printed of pieces that come at these seconds.
    fn printed(pieces: &[(u64, &[u8])], coloured: bool) -> String {
        let mut speech = Speech::new(coloured, START);
        let mut text = String::new();
        for (at, bytes) in pieces {
            let elapsed = Duration::from_secs(*at);
            speech.pause(START + elapsed);
            speech.write(bytes, elapsed, START + elapsed);
            text.push_str(&speech.take(1));
        }
        speech.end();
        text + &speech.take(1)
    }

    #[test]
    fn whole_lines_with_their_times() {
        let pieces: &[(u64, &[u8])] = &[(1, b"one\ntw"), (1, b"o\n\nrest"), (20, b"\nlast")];
        let expected = "#1 1.000 one\n#1 1.000 two\n#1 1.000 \n#1 1.000 rest\n#1 20.00 last\n";
        assert_eq!(printed(pieces, false), expected);
    }

    #[test]
    fn a_line_that_lasts_is_printed_in_pieces() {
        let dots: &[(u64, &[u8])] = &[(1, b"."), (3, b"."), (6, b".\nend\n")];
        assert_eq!(printed(dots, false), "#1 1.000 ...\n#1 6.000 end\n");
        let long = vec![b'x'; 1 << 20];
        assert_eq!(printed(&[(1, &long), (2, b"\n")], false).len(), "#1 1.000 \n".len() + long.len());
    }

    #[test]
    fn a_line_written_again_and_again_is_printed_now_and_then() {
        let bar: Vec<(u64, Vec<u8>)> = (0..=12).map(|at| (at, format!("{at}%\r").into_bytes())).collect();
        let bar: Vec<(u64, &[u8])> = bar.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
        let text = printed(&bar, false);
        assert_eq!(text, "#1 5.000 4%\n#1 10.00 9%\n#1 12.00 12%\n");
        let quick: &[(u64, &[u8])] = &[(0, b"1%\r50%\r100%\r\nnext\r\n")];
        assert_eq!(printed(quick, false), "#1 0.000 100%\n#1 0.000 next\n");
    }

    #[test]
    fn colours_end_with_the_line() {
        let text: &[(u64, &[u8])] = &[(0, b"\x1b[31mred\nplain\n")];
        assert_eq!(printed(text, true), "#1 0.000 \x1b[31mred\x1b[0m\n#1 0.000 plain\n");
        assert_eq!(printed(text, false), "#1 0.000 red\n#1 0.000 plain\n");
    }

    #[test]
    fn what_another_step_interrupted_goes_on_in_a_new_line() {
        let mut speech = Speech::new(false, START);
        speech.write(b"wait", Duration::ZERO, START);
        assert!(speech.pause(START + LASTS));
        assert_eq!(speech.take(1), "#1 0.000 wait");
        assert!(speech.leave_line());
        speech.write(b"ing\n", Duration::from_secs(9), START);
        assert_eq!(speech.take(1), "#1 9.000 ing\n");
    }
}
