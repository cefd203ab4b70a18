//! Steps in flight on a terminal, with their last lines.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Instant, SystemTime};

use kiln_engine::progress::{Event, EventKind, StepId};

use super::screen::Screen;
use super::steps::{Lines, Phase, Step, Steps};
use super::{REDRAW, Renderer};
use crate::values::time;
use crate::{terminal, text};

/// Lines of output shown under a step that runs.
const TAIL: usize = 6;

/// Progress on a terminal.
pub(super) struct Tty {
    steps: Steps,
    /// In the order in which they began.
    order: Vec<StepId>,
    tails: BTreeMap<StepId, (Lines, VecDeque<String>)>,
    screen: Screen,
    began: Instant,
    drawn: Instant,
    coloured: bool,
}

impl Tty {
    pub(super) fn new() -> Self {
        Tty {
            steps: Steps::default(),
            order: Vec::new(),
            tails: BTreeMap::new(),
            screen: Screen::default(),
            began: Instant::now(),
            drawn: Instant::now(),
            coloured: terminal::stderr_is_coloured(),
        }
    }

    fn draw(&mut self) {
        self.drawn = Instant::now();
        let size = terminal::size().unwrap_or((24, 80));
        let now = SystemTime::now();
        let mut lines = vec![self.headline()];
        for id in &self.order {
            let Some(step) = self.steps.get(*id) else { continue };
            lines.push(self.step_line(step, now, usize::from(size.1)));
            lines.extend(transfers(step));
            if step.phase == Phase::Running
                && let Some((_, tail)) = self.tails.get(id)
            {
                lines.extend(tail.iter().map(|line| self.dim(&format!(" => => {line}"))));
            }
        }
        self.screen.draw(&lines, size);
    }

    fn headline(&self) -> String {
        let over = self
            .order
            .iter()
            .filter(|id| self.steps.get(**id).is_some_and(|step| step.ended.is_some()))
            .count();
        format!("[+] Building {:.1}s ({over}/{})", self.began.elapsed().as_secs_f64(), self.order.len())
    }

    /// ` => [2/3] RUN make      1.2s`, the time at the right.
    fn step_line(&self, step: &Step, now: SystemTime, width: usize) -> String {
        let mark = match step.phase {
            Phase::Cached => "CACHED ",
            Phase::Failed(_) => "ERROR ",
            Phase::Cancelled => "CANCELED ",
            Phase::Waiting | Phase::Running | Phase::Done => "",
        };
        let elapsed = format!("{:.1}s", step.elapsed(now).as_secs_f64());
        let room = width.saturating_sub(elapsed.len() + 2);
        let name = text::neutral(&step.name).replace('\n', " ");
        let left = text::cut(&format!(" => {mark}{name}"), room);
        let line = format!("{left:<room$} {elapsed}");
        match step.phase {
            Phase::Failed(_) => self.colour("31", &line),
            Phase::Cached | Phase::Done => self.colour("34", &line),
            _ => line,
        }
    }

    fn colour(&self, code: &str, line: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{line}\x1b[0m") } else { line.to_owned() }
    }

    fn dim(&self, line: &str) -> String {
        self.colour("2", line)
    }
}

fn transfers(step: &Step) -> Vec<String> {
    let open = step.transfers.values().filter(|transfer| !transfer.done && step.phase == Phase::Running);
    open.map(|transfer| {
        let total = transfer.total.map_or_else(String::new, |total| format!(" / {}", time::size(total)));
        let item = text::neutral(&transfer.item);
        format!(" => => {} {item} {}{total}", transfer.action, time::size(transfer.current))
    })
    .collect()
}

impl Renderer for Tty {
    fn event(&mut self, event: Event) {
        self.steps.apply(&event);
        let id = event.step;
        if !matches!(event.kind, EventKind::Registered { .. }) && !self.order.contains(&id) {
            self.order.push(id);
        }
        if let EventKind::Log { bytes, .. } = &event.kind {
            let (lines, tail) = self.tails.entry(id).or_default();
            tail.extend(lines.push(bytes));
            while tail.len() > TAIL {
                tail.pop_front();
            }
        }
        if self.drawn.elapsed() >= REDRAW {
            self.draw();
        }
    }

    fn tick(&mut self) {
        self.draw();
    }

    fn finish(&mut self) {
        self.draw();
        self.screen.keep();
    }
}
