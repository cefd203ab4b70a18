//! Lines at the bottom of a terminal that are drawn again and again, in one write each time.

use std::io::{self, Write};

use crate::text;

/// A block of lines on standard error.
#[derive(Debug, Default)]
pub(super) struct Screen {
    drawn: usize,
}

impl Screen {
    /// Replaces the lines drawn before, each cut to the terminal's width, the first ones left out where it is too low.
    pub(super) fn draw(&mut self, lines: &[String], size: (u16, u16)) {
        let frame = self.frame(lines, size);
        let _ = io::stderr().write_all(frame.as_bytes());
    }

    fn frame(&mut self, lines: &[String], (rows, columns): (u16, u16)) -> String {
        let room = usize::from(rows).saturating_sub(1).max(1);
        let lines = &lines[lines.len().saturating_sub(room)..];
        let mut frame = String::new();
        if self.drawn > 0 {
            frame.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for line in lines {
            // A full last column would wrap on some terminals.
            frame.push_str("\r\x1b[2K");
            frame.push_str(&text::cut(line, usize::from(columns).saturating_sub(1)));
            frame.push('\n');
        }
        if lines.len() < self.drawn {
            frame.push_str("\x1b[J");
        }
        self.drawn = lines.len();
        frame
    }

    /// Leaves what is drawn on the screen and goes on below it.
    pub(super) fn keep(&mut self) {
        self.drawn = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_covers_the_one_before() {
        let mut screen = Screen::default();
        let lines = |count: usize| (0..count).map(|n| format!("line {n}")).collect::<Vec<_>>();
        assert_eq!(screen.frame(&lines(2), (24, 80)), "\r\x1b[2Kline 0\n\r\x1b[2Kline 1\n");
        assert_eq!(screen.frame(&lines(1), (24, 80)), "\x1b[2A\r\x1b[2Kline 0\n\x1b[J");
        assert_eq!(screen.frame(&lines(9), (3, 5)), "\x1b[1A\r\x1b[2Kline\n\r\x1b[2Kline\n");
    }
}
