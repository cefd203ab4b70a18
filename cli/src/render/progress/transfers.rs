//! Progress of a pull, a push, a load or a save: a line an item on a terminal, nothing elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use kiln_engine::progress::{Event, EventKind, Reporter, StepId};

use super::layout::{moved_line, with_time};
use super::look::Look;
use super::moved::{Moved, one_line, seconds};
use super::screen::Screen;
use super::{Drawing, REDRAW, Renderer, UNKNOWN};
use crate::terminal;
use crate::values::time;

/// What is over sooner is not shown.
const NOT_WORTH_IT: Duration = Duration::from_millis(300);

/// The progress of one command.
pub(crate) struct Transfers {
    drawing: Option<Drawing>,
}

impl fmt::Debug for Transfers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transfers")
    }
}

impl Transfers {
    /// Of something to be done, such as `Pulling alpine`. Nothing is drawn before something moves.
    pub(crate) fn start(what: &str, quiet: bool) -> Self {
        let shown = !quiet && terminal::stderr_is_terminal();
        Transfers { drawing: shown.then(|| Drawing::start(Box::new(Board::new(what)))) }
    }

    /// Draws the last state.
    pub(crate) fn finish(&self) {
        if let Some(drawing) = &self.drawing {
            drawing.finish();
        }
    }
}

impl Reporter for Transfers {
    fn report(&self, kind: EventKind) {
        if let Some(drawing) = &self.drawing {
            drawing.send(Event { at: SystemTime::now(), step: StepId(0), kind });
        }
    }
}

/// What is drawn.
struct Board {
    what: String,
    look: Look,
    /// In the order in which they began.
    order: Vec<String>,
    items: BTreeMap<String, Moved>,
    screen: Screen,
    began: Instant,
    drawn: Instant,
}

impl Board {
    fn new(what: &str) -> Self {
        Board {
            what: one_line(what),
            look: Look::from_environment(),
            order: Vec::new(),
            items: BTreeMap::new(),
            screen: Screen::watched(),
            began: Instant::now(),
            drawn: Instant::now(),
        }
    }

    fn draw(&mut self) {
        self.drawn = Instant::now();
        if self.items.is_empty() || self.began.elapsed() < NOT_WORTH_IT {
            return;
        }
        let size = terminal::size().unwrap_or(UNKNOWN);
        let lines = self.lines(SystemTime::now(), usize::from(size.0).saturating_sub(1), usize::from(size.1));
        terminal::write_progress(&self.screen.draw(&lines, size));
    }

    /// What is above it all, then as many items as there is room for, those that move before those that are there.
    fn lines(&self, now: SystemTime, rows: usize, columns: usize) -> Vec<String> {
        let all = || self.order.iter().map(|item| &self.items[item]);
        let room = rows.saturating_sub(1);
        let open = all().filter(|moved| moved.is_open()).count();
        let mut done_room = room.saturating_sub(open);
        let shown = all().filter(|moved| {
            let fits = moved.is_open() || done_room > 0;
            done_room -= usize::from(!moved.is_open() && fits);
            fits
        });
        let line = |moved: &Moved| match moved.is_open() {
            true => moved_line(" => ", moved, now, columns),
            false => self.look.paint(|colours| &colours.run, &moved_line(" => ", moved, now, columns)),
        };
        std::iter::once(self.headline(columns)).chain(shown.map(line).take(room)).collect()
    }

    /// `[+] Pulling alpine (2/5)   34.2MB 8.1MB/s   1.2s`
    fn headline(&self, columns: usize) -> String {
        let done = self.items.values().filter(|moved| !moved.is_open()).count();
        let bytes: u64 = self.items.values().map(|moved| moved.transfer.current).sum();
        let left = format!("[+] {} ({done}/{})", self.what, self.items.len());
        with_time(&left, &format!("{} {:>6}", time::size(bytes), seconds(self.began.elapsed())), columns)
    }
}

impl Renderer for Board {
    fn event(&mut self, event: Event) {
        let EventKind::Transfer(transfer) = &event.kind else { return };
        if !self.items.contains_key(&transfer.item) {
            self.order.push(transfer.item.clone());
        }
        Moved::note(&mut self.items, transfer, event.at);
        if self.drawn.elapsed() >= REDRAW {
            self.draw();
        }
    }

    fn tick(&mut self, _now: SystemTime) {
        self.draw();
    }

    fn finish(&mut self) -> bool {
        self.draw();
        false
    }
}

#[cfg(test)]
mod tests {
    use kiln_engine::progress::Transfer;

    use super::*;

    #[test]
    fn what_moves_is_shown_before_what_is_there() {
        let mut board = Board::new("Pulling alpine");
        let begin = SystemTime::UNIX_EPOCH;
        let mut go = |item: &str, current, seconds, done| {
            let transfer = Transfer {
                item: item.to_owned(),
                action: "downloading",
                current,
                total: Some(10_000_000),
                done,
            };
            Moved::note(&mut board.items, &transfer, begin + Duration::from_secs(seconds));
            if !board.order.contains(&transfer.item) {
                board.order.push(transfer.item);
            }
        };
        for item in ["one", "two", "three"] {
            go(item, 0, 0, false);
        }
        go("one", 10_000_000, 1, true);
        go("three", 5_000_000, 2, false);
        board.look.colours = None;
        let lines = board.lines(begin + Duration::from_secs(2), 3, 61);
        assert!(
            lines[0].starts_with("[+] Pulling alpine (1/3)  ") && lines[0].contains(" 15MB "),
            "{lines:?}"
        );
        assert_eq!(lines[1], format!("{:<44}0B / 10MB   2.0s", " => downloading two"));
        assert_eq!(lines[2], format!("{:<35}5MB / 10MB 2.5MB/s   2.0s", " => downloading three"));
        assert_eq!(board.lines(begin, 9, 61).len(), 4);
    }
}
