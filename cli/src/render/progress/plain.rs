//! Every line, numbered by step, as BuildKit prints them; a step's lines stay together.
//!
//! One step at a time has the floor: what it says is printed at once, and what the others say waits until it ends,
//! pauses, or has kept them waiting for too long.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, SystemTime};

use kiln_engine::progress::{Event, EventKind, StepId};

use super::Renderer;
use super::moved::{Moved, one_line, seconds};
use super::speech::Speech;
use super::steps::{Phase, Steps};
use crate::values::time;

/// A step that says nothing for so long gives the floor to one that waits.
const PAUSE: Duration = Duration::from_secs(2);
/// The longest that a step waits for the floor.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that wait at most; a step that has more gets the floor.
const MAX_WAITING: usize = 256 << 10;
/// The time between two lines about one transfer.
const TRANSFER_EVERY: Duration = Duration::from_secs(5);

/// Plain progress.
pub(super) struct Plain<W> {
    out: W,
    coloured: bool,
    steps: Steps,
    voices: BTreeMap<StepId, Voice>,
    /// Who has the floor.
    floor: Option<StepId>,
    /// How many steps have been printed.
    printed: usize,
    now: SystemTime,
}

/// What a step has to say.
struct Voice {
    speech: Speech,
    /// Its number in the output, once it has been printed.
    number: Option<usize>,
    /// When each of its transfers was last told of.
    told: BTreeMap<String, SystemTime>,
    /// Since when something waits to be printed.
    waits: Option<SystemTime>,
    /// When it last said something.
    spoke: SystemTime,
    ended: bool,
}

impl<W: Write> Plain<W> {
    /// Prints to `out`, with the colours that steps use only if they are wanted.
    pub(super) fn new(out: W, coloured: bool) -> Self {
        Plain {
            out,
            coloured,
            steps: Steps::default(),
            voices: BTreeMap::new(),
            floor: None,
            printed: 0,
            now: SystemTime::UNIX_EPOCH,
        }
    }

    /// Lets a step say something by what `say` does with its speech; at its first word its name is said too.
    fn say(&mut self, id: StepId, say: impl FnOnce(&mut Speech)) {
        let (now, coloured) = (self.now, self.coloured);
        let voice = self.voices.entry(id).or_insert_with(|| Voice {
            speech: Speech::new(coloured, now),
            number: None,
            told: BTreeMap::new(),
            waits: None,
            spoke: now,
            ended: false,
        });
        say(&mut voice.speech);
        if voice.has_words() || voice.number.is_none() {
            voice.spoke = now;
            voice.waits.get_or_insert(now);
        }
    }

    fn log(&mut self, id: StepId, bytes: &[u8], at: SystemTime) {
        let Some(step) = self.steps.get(id) else { return };
        let elapsed = step.elapsed(at);
        self.say(id, |speech| speech.write(bytes, elapsed, at));
    }

    fn transfer(&mut self, id: StepId, item: &str) {
        let Some(moved) = self.steps.get(id).and_then(|step| step.transfers.get(item)) else { return };
        let told = self.voices.get(&id).and_then(|voice| voice.told.get(item));
        let since = self.now.duration_since(*told.unwrap_or(&moved.started)).unwrap_or_default();
        if moved.is_open() && since < TRANSFER_EVERY {
            return;
        }
        let line = transfer_line(moved, self.now);
        self.say(id, |speech| speech.line(&line));
        if let Some(voice) = self.voices.get_mut(&id) {
            voice.told.insert(item.to_owned(), self.now);
        }
    }

    fn end(&mut self, id: StepId) {
        let Some(step) = self.steps.get(id) else { return };
        let last = match &step.phase {
            Phase::Cached => "CACHED".to_owned(),
            Phase::Done => format!("DONE {}", seconds(step.elapsed(self.now))),
            Phase::Failed(why) => format!("ERROR: {}", one_line(why)),
            Phase::Cancelled => "CANCELED".to_owned(),
            Phase::Waiting | Phase::Running => return,
        };
        self.say(id, |speech| {
            speech.end();
            speech.line(&last);
        });
        self.voices.entry(id).and_modify(|voice| voice.ended = true);
    }

    /// Prints whatever may be printed now.
    fn go_on(&mut self) {
        loop {
            if let Some(id) = self.floor {
                self.print(id);
            }
            match self.next() {
                Some(next) => self.give_floor(next),
                None => return,
            }
        }
    }

    /// Who gets the floor now: whoever waits with words for the longest time, if the one who has it may be interrupted.
    fn next(&self) -> Option<StepId> {
        let waiting = self.voices.iter().filter_map(|(id, voice)| Some((*id, voice, voice.waits?)));
        let order = |voice: &Voice, since, id| (!voice.is_full(), !voice.has_words(), since, id);
        let (id, voice, since) = waiting.min_by_key(|(id, voice, since)| order(voice, *since, *id))?;
        let Some(speaker) = self.floor.and_then(|floor| self.voices.get(&floor)) else { return Some(id) };
        let passed = |since| self.now.duration_since(since).unwrap_or_default();
        let may = voice.is_full() || passed(speaker.spoke) >= PAUSE || passed(since) >= PATIENCE;
        (voice.has_words() && may).then_some(id)
    }

    fn give_floor(&mut self, id: StepId) {
        let mut text = String::new();
        if let Some(old) = self.floor.and_then(|floor| self.voices.get_mut(&floor)) {
            text.push_str(if old.speech.leave_line() { "\n" } else { "" });
            text.push_str(&format!("#{} ...\n", old.number.unwrap_or_default()));
        }
        if self.printed > 0 {
            text.push('\n');
        }
        let name = self.steps.get(id).map_or_else(String::new, |step| one_line(&step.name));
        if let Some(voice) = self.voices.get_mut(&id) {
            if voice.number.is_none() {
                self.printed += 1;
                voice.number = Some(self.printed);
            }
            text.push_str(&format!("#{} {name}\n", voice.number.unwrap_or_default()));
        }
        self.floor = Some(id);
        self.write(&text);
    }

    /// Prints what a step has to say; one that has ended gives the floor back.
    fn print(&mut self, id: StepId) {
        let Some(voice) = self.voices.get_mut(&id) else { return };
        let text = voice.speech.take(voice.number.unwrap_or_default());
        voice.waits = None;
        if voice.ended {
            self.floor = None;
        }
        self.write(&text);
    }

    fn write(&mut self, text: &str) {
        if !text.is_empty() {
            let _ = self.out.write_all(text.as_bytes());
        }
    }
}

impl Voice {
    fn is_full(&self) -> bool {
        self.speech.waiting() > MAX_WAITING
    }

    /// Whether there is more to say of it than its name.
    fn has_words(&self) -> bool {
        !self.speech.is_empty() || self.ended
    }
}

/// `downloading 3f5e8a1b2c3d 12.3MB / 65MB 8.1MB/s 1.5s done`
fn transfer_line(moved: &Moved, now: SystemTime) -> String {
    let rate = moved.rate(now).map_or_else(String::new, |rate| format!(" {}/s", time::size(rate)));
    let done = if moved.transfer.done { " done" } else { "" };
    let (name, item) = (moved.transfer.action, one_line(&moved.transfer.item));
    format!("{name} {item} {}{rate} {}{done}", moved.amount(), seconds(moved.elapsed(now)))
}

impl<W: Write + Send> Renderer for Plain<W> {
    fn event(&mut self, event: Event) {
        self.now = self.now.max(event.at);
        self.steps.apply(&event);
        let id = event.step;
        match event.kind {
            EventKind::Started => self.say(id, |_| {}),
            EventKind::Log { bytes, .. } => self.log(id, &bytes, event.at),
            EventKind::Transfer(transfer) => self.transfer(id, &transfer.item),
            EventKind::Warning(warning) => {
                self.say(id, |speech| speech.line(&format!("WARN: {}", one_line(&warning.short))));
            }
            EventKind::Cached | EventKind::Done | EventKind::Failed(_) | EventKind::Cancelled => self.end(id),
            EventKind::Registered { .. } | EventKind::Explained(_) => {}
        }
        self.go_on();
    }

    fn tick(&mut self, now: SystemTime) {
        self.now = self.now.max(now);
        for voice in self.voices.values_mut() {
            if voice.speech.pause(now) {
                voice.spoke = now;
                voice.waits.get_or_insert(now);
            }
        }
        self.go_on();
    }

    fn finish(&mut self) -> bool {
        while let Some(id) = self.voices.iter().find_map(|(id, voice)| voice.waits.and(Some(*id))) {
            if self.floor != Some(id) {
                self.give_floor(id);
            }
            self.print(id);
        }
        let _ = self.out.flush();
        false
    }
}

#[cfg(test)]
mod tests;
