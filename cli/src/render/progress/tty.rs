//! Steps in flight on a terminal, with their last lines; a line a step when all is over.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use kiln_engine::progress::{Event, EventKind, StepId};

use super::layout::{Entry, Stand};
use super::look::Look;
use super::moved::one_line;
use super::screen::Screen;
use super::steps::{Phase, Steps};
use super::tail::Tail;
use super::width::cut;
use super::{REDRAW, Renderer, UNKNOWN};
use crate::terminal;
use crate::values::time;

/// Progress on a terminal.
pub(super) struct Tty {
    look: Look,
    steps: Steps,
    /// In the order in which they began.
    order: Vec<StepId>,
    /// The output of those that run or failed.
    tails: BTreeMap<StepId, Tail>,
    screen: Screen,
    began: Instant,
    drawn: Instant,
}

impl Tty {
    pub(super) fn new() -> Self {
        Tty {
            look: Look::from_environment(),
            steps: Steps::default(),
            order: Vec::new(),
            tails: BTreeMap::new(),
            screen: Screen::watched(),
            began: Instant::now(),
            drawn: Instant::now(),
        }
    }

    fn draw(&mut self, over: bool) {
        self.drawn = Instant::now();
        let size = terminal::size().unwrap_or(UNKNOWN);
        let (rows, columns) = (usize::from(size.0), usize::from(size.1));
        let stand = self.stand(columns, over);
        let text = match over {
            false => {
                let lines = stand.in_flight(rows.saturating_sub(1));
                self.screen.draw(&lines, size)
            }
            true => {
                let lines = stand.at_the_end(rows);
                // What is higher than the terminal is for its scrollback, and nothing that is drawn again.
                let lines = lines.iter().map(|line| cut(line, columns.saturating_sub(1)) + "\n");
                lines.fold(self.screen.clear(), |text, line| text + &line)
            }
        };
        terminal::write_progress(&text);
    }

    fn stand(&self, columns: usize, over: bool) -> Stand<'_> {
        let now = SystemTime::now();
        let entry = |id: &StepId| {
            let tail = self.tails.get(id).map(Tail::last).unwrap_or_default();
            Some(Entry { step: self.steps.get(*id)?, tail })
        };
        Stand {
            headline: self.headline(columns, over),
            entries: self.order.iter().filter_map(entry).collect(),
            now,
            look: &self.look,
            columns,
        }
    }

    /// `[+] Building 1.2s (3/5)`; where there is no room, without the word.
    fn headline(&self, columns: usize, over: bool) -> String {
        let steps = self.steps.all.values();
        let done = steps.clone().filter(|step| step.ended.is_some()).count();
        let total = if over { done } else { self.steps.all.len() };
        let phases = || steps.clone().map(|step| &step.phase);
        let state = match over {
            false => "",
            true if phases().any(|phase| matches!(phase, Phase::Failed(_))) => " FAILED",
            true if phases().any(|phase| *phase == Phase::Cancelled) => " CANCELED",
            true => " FINISHED",
        };
        let time = self.began.elapsed().as_secs_f64();
        let long = format!("[+] Building {time:.1}s ({done}/{total}){state}");
        match long.len() < columns {
            true => long,
            false => format!("[+] {time:.1}s ({done}/{total}){state}"),
        }
    }

    /// The whole output of steps that failed, which was not seen while they ran.
    fn failures(&mut self) -> String {
        let mut text = String::new();
        for (id, tail) in std::mem::take(&mut self.tails) {
            let Some(step) = self.steps.get(id) else { continue };
            if !matches!(step.phase, Phase::Failed(_)) {
                continue;
            }
            let (lost, lines) = tail.whole(self.look.colours.is_some());
            text.push_str(&format!("------\n > {}:\n", one_line(&step.name)));
            if lost > 0 {
                text.push_str(&format!("[{} before this are left out]\n", time::size(lost)));
            }
            lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
            text.push_str("------\n");
        }
        text
    }
}

impl Renderer for Tty {
    fn event(&mut self, event: Event) {
        self.steps.apply(&event);
        let id = event.step;
        match &event.kind {
            EventKind::Registered { .. } => {}
            EventKind::Log { bytes, .. } => {
                let coloured = self.look.colours.is_some();
                self.tails.entry(id).or_insert_with(|| Tail::new(self.look.tail, coloured)).push(bytes);
            }
            EventKind::Done | EventKind::Cached | EventKind::Cancelled => drop(self.tails.remove(&id)),
            _ => {}
        }
        let begun = self.steps.get(id).is_some_and(|step| step.started.is_some());
        if begun && !self.order.contains(&id) {
            self.order.push(id);
        }
        if self.drawn.elapsed() >= REDRAW {
            self.draw(false);
        }
    }

    fn tick(&mut self, _now: SystemTime) {
        self.draw(false);
    }

    fn finish(&mut self) -> bool {
        self.draw(true);
        let failures = self.failures();
        terminal::write_progress(&failures);
        !failures.is_empty()
    }
}
