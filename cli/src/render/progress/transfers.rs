//! Progress of a pull or a push: a bar an item on a terminal, a line an item elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Instant;

use kiln_engine::progress::{EventKind, Reporter, Transfer};

use super::REDRAW;
use super::screen::Screen;
use crate::values::time;
use crate::{terminal, text};

const BAR: u64 = 30;

/// How a transfer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Silent,
    Lines,
    Bars,
}

/// The progress of one pull or push.
pub(crate) struct Transfers {
    style: Style,
    state: Mutex<State>,
}

struct State {
    /// In the order in which they began.
    order: Vec<String>,
    items: BTreeMap<String, Transfer>,
    screen: Screen,
    drawn: Instant,
}

impl fmt::Debug for Transfers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfers").field("style", &self.style).finish_non_exhaustive()
    }
}

impl Transfers {
    /// Nothing is drawn before something moves.
    pub(crate) fn start(quiet: bool) -> Self {
        let style = match quiet {
            true => Style::Silent,
            false if terminal::stderr_is_terminal() => Style::Bars,
            false => Style::Lines,
        };
        let state = State {
            order: Vec::new(),
            items: BTreeMap::new(),
            screen: Screen::default(),
            drawn: Instant::now(),
        };
        Transfers { style, state: Mutex::new(state) }
    }

    /// Draws the last state.
    pub(crate) fn finish(&self) {
        if let Ok(mut state) = self.state.lock()
            && self.style == Style::Bars
        {
            state.draw();
            state.screen.keep();
        }
    }
}

impl Reporter for Transfers {
    fn report(&self, kind: EventKind) {
        let (EventKind::Transfer(transfer), Ok(mut state)) = (kind, self.state.lock()) else { return };
        match self.style {
            Style::Silent => {}
            Style::Lines if transfer.done => {
                let _ = std::io::Write::write_all(
                    &mut std::io::stderr(),
                    format!("{}\n", done_line(&transfer)).as_bytes(),
                );
            }
            Style::Lines => {}
            Style::Bars => state.take(transfer),
        }
    }
}

impl State {
    fn take(&mut self, transfer: Transfer) {
        if !self.items.contains_key(&transfer.item) {
            self.order.push(transfer.item.clone());
        }
        self.items.insert(transfer.item.clone(), transfer);
        if self.drawn.elapsed() >= REDRAW {
            self.draw();
        }
    }

    fn draw(&mut self) {
        self.drawn = Instant::now();
        let lines: Vec<String> = self.order.iter().map(|item| bar(&self.items[item])).collect();
        self.screen.draw(&lines, terminal::size().unwrap_or((24, 80)));
    }
}

fn done_line(transfer: &Transfer) -> String {
    format!("{}: {} done", short(&transfer.item), transfer.action)
}

/// `3f5e8a1b2c3d downloading [=====>     ] 12.3MB/65MB`
fn bar(transfer: &Transfer) -> String {
    let item = short(&transfer.item);
    if transfer.done {
        return done_line(transfer);
    }
    let current = time::size(transfer.current);
    let Some(total) = transfer.total.filter(|total| *total > 0) else {
        return format!("{item} {:<11} {current}", transfer.action);
    };
    let filled = (transfer.current.min(total) * BAR / total) as usize;
    let bar = "=".repeat(filled) + ">";
    format!(
        "{item} {:<11} [{bar:<width$}] {current}/{}",
        transfer.action,
        time::size(total),
        width = BAR as usize + 1
    )
}

fn short(item: &str) -> String {
    let hex = item.strip_prefix("sha256:").and_then(|hex| hex.get(..12));
    text::neutral(hex.unwrap_or(item)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill_up() {
        let transfer = |current, done| Transfer {
            item: format!("sha256:{}", "0123456789ab".repeat(5)),
            action: "downloading",
            current,
            total: Some(100),
            done,
        };
        assert_eq!(
            bar(&transfer(50, false)),
            format!("0123456789ab downloading [{}>{}] 50B/100B", "=".repeat(15), " ".repeat(15))
        );
        assert_eq!(
            bar(&transfer(100, false)),
            format!("0123456789ab downloading [{}>] 100B/100B", "=".repeat(30))
        );
        assert_eq!(bar(&transfer(100, true)), "0123456789ab: downloading done");
    }
}
