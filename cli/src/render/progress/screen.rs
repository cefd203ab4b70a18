//! Lines at the bottom of a terminal that are drawn again and again: one write a frame, and only what changed.

use super::stops::Stops;
use super::width::{columns, cut};

/// A terminal shows what is between these at once, if it knows them; long lines are clipped and not wrapped, should it
/// count their columns otherwise; the cursor is not seen on its way. All of it is undone at the end of each frame, so
/// that no end of the program, however sudden, leaves the terminal changed.
const BEGIN: &str = "\x1b[?2026h\x1b[?7l\x1b[?25l";
const FINISH: &str = "\x1b[?25h\x1b[?7h\x1b[?2026l";
/// Clears what is right of the cursor.
const CLEAR_RIGHT: &str = "\x1b[K";
/// Clears what is right of the cursor and below.
const CLEAR_BELOW: &str = "\x1b[J";

/// A block of lines; the cursor rests on the line below.
#[derive(Debug, Default)]
pub(super) struct Screen {
    drawn: Vec<String>,
    /// Rows and columns at that time.
    size: (u16, u16),
    /// Whether others wrote below it since.
    stops: Option<Stops>,
}

impl Screen {
    /// One that begins anew below what was written while kiln stood still.
    pub(super) fn watched() -> Screen {
        Screen { stops: Some(Stops::watch()), ..Screen::default() }
    }

    /// What to write so that `lines`, each cut to the terminal's width, take the place of those drawn before; empty
    /// where they are the same. Lines that the terminal has no rows for are left out at the top.
    pub(super) fn draw(&mut self, lines: &[String], size: (u16, u16)) -> String {
        let (rows, width) = (usize::from(size.0), usize::from(size.1));
        let room = rows.saturating_sub(1).max(1);
        let lines = &lines[lines.len().saturating_sub(room)..];
        // A full last column is a place where terminals differ.
        let lines: Vec<String> = lines.iter().map(|line| cut(line, width.saturating_sub(1).max(1))).collect();
        self.leave_what_others_wrote();
        let resized = self.size != size && !self.drawn.is_empty();
        if !resized && lines == self.drawn {
            return String::new();
        }
        let mut frame = String::from(BEGIN);
        match resized {
            true => frame.push_str(&self.wipe(rows, width)),
            false => frame.push_str(&up(self.drawn.len())),
        }
        self.change(&mut frame, &lines);
        frame.push_str(FINISH);
        (self.drawn, self.size) = (lines, size);
        frame
    }

    /// What to write so that nothing of the block is left.
    pub(super) fn clear(&mut self) -> String {
        self.leave_what_others_wrote();
        cleared(std::mem::take(&mut self.drawn).len())
    }

    /// The cursor is below what the shell said; the block above that stays as it is.
    fn leave_what_others_wrote(&mut self) {
        let is_drawn = !self.drawn.is_empty();
        if self.stops.as_mut().is_some_and(|stops| stops.were(is_drawn)) {
            self.drawn.clear();
        }
    }

    /// Clears the block, which the terminal has wrapped to its new width.
    fn wipe(&mut self, rows: usize, width: usize) -> String {
        let wrapped = |line: &String| columns(line).div_ceil(width.max(1)).max(1);
        let taken: usize = self.drawn.iter().map(wrapped).sum();
        self.drawn.clear();
        cleared(taken.min(rows.saturating_sub(1)))
    }

    fn change(&self, frame: &mut String, lines: &[String]) {
        for (at, line) in lines.iter().enumerate() {
            if self.drawn.get(at) != Some(line) {
                frame.push_str(line);
                frame.push_str(CLEAR_RIGHT);
            }
            frame.push_str("\r\n");
        }
        // Also what was typed meanwhile.
        frame.push_str(CLEAR_BELOW);
    }
}

/// Clears the `count` lines above and goes to the first of them. A line at a time: where that is the whole screen, tmux
/// would keep what is cleared at once in its scrollback.
fn cleared(count: usize) -> String {
    match count {
        0 => String::new(),
        count => up(count) + &"\x1b[2K\r\n".repeat(count) + &up(count),
    }
}

/// To the start of the line `count` above.
fn up(count: usize) -> String {
    if count == 0 { "\r".to_owned() } else { format!("\r\x1b[{count}A") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// A frame without what every frame has.
    fn inner(frame: &str) -> &str {
        frame.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(FINISH)).unwrap()
    }

    #[test]
    fn only_what_changed_is_written() {
        let mut screen = Screen::default();
        let size = (24, 80);
        assert_eq!(inner(&screen.draw(&lines(&["a", "b"]), size)), "\ra\x1b[K\r\nb\x1b[K\r\n\x1b[J");
        assert_eq!(screen.draw(&lines(&["a", "b"]), size), "");
        assert_eq!(inner(&screen.draw(&lines(&["a", "c"]), size)), "\r\x1b[2A\r\nc\x1b[K\r\n\x1b[J");
        assert_eq!(inner(&screen.draw(&lines(&["a"]), size)), "\r\x1b[2A\r\n\x1b[J");
        assert_eq!(screen.clear(), "\r\x1b[1A\x1b[2K\r\n\r\x1b[1A");
        assert_eq!(screen.clear(), "");
    }

    #[test]
    fn it_fits_the_terminal() {
        let mut screen = Screen::default();
        let frame = screen.draw(&lines(&["first", "second", "third"]), (3, 5));
        assert_eq!(inner(&frame), "\rseco\x1b[K\r\nthir\x1b[K\r\n\x1b[J");
    }

    #[test]
    fn what_a_narrower_terminal_wrapped_is_wiped() {
        let mut screen = Screen::default();
        screen.draw(&lines(&[&"x".repeat(79), "y"]), (24, 80));
        let frame = screen.draw(&lines(&["x", "y"]), (24, 30));
        let cleared = format!("\r\x1b[4A{}\r\x1b[4A", "\x1b[2K\r\n".repeat(4));
        assert_eq!(inner(&frame), format!("{cleared}x\x1b[K\r\ny\x1b[K\r\n\x1b[J"));
    }
}
