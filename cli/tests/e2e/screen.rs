//! A pseudo-terminal with a screen behind it that knows no more than kiln may use: any other escape is an error.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use unicode_width::UnicodeWidthChar as _;

use crate::harness::wait_for;

/// Stands in the second column of a wide character.
const FILLER: char = '\0';

/// What a terminal shows.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    rows: usize,
    columns: usize,
    /// All lines since the start, the last `rows` of them on the screen.
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// The modes in which it differs from a fresh terminal; without `?7` long lines go on in the next row.
    pub(crate) changed: Vec<String>,
    /// What was written that no terminal should get.
    pub(crate) errors: Vec<String>,
    /// All that was written.
    pub(crate) bytes: Vec<u8>,
    sequence: Option<String>,
    undecoded: Vec<u8>,
}

impl Screen {
    fn new(rows: usize, columns: usize) -> Self {
        Screen { rows, columns, lines: vec![Vec::new()], ..Screen::default() }
    }

    /// Its lines, with those that have left it at the top, and without blanks at the end.
    pub(crate) fn text(&self) -> Vec<String> {
        let line = |line: &Vec<char>| {
            let text: String = line.iter().filter(|c| **c != FILLER).collect();
            text.trim_end().to_owned()
        };
        let mut lines: Vec<String> = self.lines.iter().map(line).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    /// How many lines begin so.
    pub(crate) fn count(&self, start: &str) -> usize {
        self.text().iter().filter(|line| line.starts_with(start)).count()
    }

    /// Where the next character goes: the number of the line, and the column.
    pub(crate) fn cursor(&self) -> (usize, usize) {
        (self.row, self.column)
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.undecoded.extend_from_slice(bytes);
        let valid = match std::str::from_utf8(&self.undecoded) {
            Ok(_) => self.undecoded.len(),
            Err(error) => error.valid_up_to(),
        };
        let rest = self.undecoded.split_off(valid);
        let text = String::from_utf8(std::mem::replace(&mut self.undecoded, rest)).unwrap();
        text.chars().for_each(|c| self.character(c));
    }

    fn character(&mut self, c: char) {
        if let Some(mut sequence) = self.sequence.take() {
            sequence.push(c);
            match sequence != "[" && ('@'..='~').contains(&c) {
                true => self.control(&sequence),
                false => self.sequence = Some(sequence),
            }
            return;
        }
        match c {
            '\x1b' => self.sequence = Some(String::new()),
            '\r' => self.column = 0,
            '\n' => self.line_feed(),
            '\t' => self.column = (self.column / 8 + 1) * 8,
            c if c.is_control() => self.errors.push(format!("control character {c:?}")),
            c => self.put(c),
        }
    }

    fn control(&mut self, sequence: &str) {
        let inner = sequence.strip_prefix('[').unwrap_or_default();
        let (parameters, last) = inner.split_at(inner.len().saturating_sub(1));
        match (parameters, last) {
            (count, "A") => self.row = self.row.saturating_sub(count.parse().unwrap()).max(self.top()),
            ("2", "K") => self.lines[self.row].clear(),
            ("", "K") => self.lines[self.row].truncate(self.column),
            ("", "J") => {
                self.lines[self.row].truncate(self.column);
                self.lines.truncate(self.row + 1);
            }
            (colour, "m") if colour.bytes().all(|byte| byte.is_ascii_digit() || byte == b';') => {}
            ("?25" | "?7", "l") | ("?2026", "h") => self.changed.push(parameters.to_owned()),
            ("?25" | "?7", "h") | ("?2026", "l") => self.changed.retain(|mode| mode != parameters),
            _ => self.errors.push(format!("escape {sequence:?}")),
        }
    }

    /// The first line on the screen.
    fn top(&self) -> usize {
        self.lines.len().saturating_sub(self.rows)
    }

    fn line_feed(&mut self) {
        self.row += 1;
        if self.row == self.lines.len() {
            self.lines.push(Vec::new());
        }
    }

    fn put(&mut self, c: char) {
        let width = c.width().unwrap_or(0);
        if self.column + width > self.columns {
            if self.changed.iter().any(|mode| mode == "?7") {
                return;
            }
            self.line_feed();
            self.column = 0;
        }
        let line = &mut self.lines[self.row];
        let end = self.column + width;
        line.resize(line.len().max(end), ' ');
        if width > 0 {
            line[self.column..end].fill(FILLER);
            line[self.column] = c;
        }
        self.column = end;
    }

    /// As terminals do that keep what is too long for a new width: it goes on in the next row.
    fn resize(&mut self, rows: usize, columns: usize) {
        let above = self.lines[..self.row].iter().map(|line| line.len().div_ceil(columns).max(1)).sum();
        let wrapped = self.lines.iter().flat_map(|line| match line.is_empty() {
            true => vec![Vec::new()],
            false => line.chunks(columns).map(<[char]>::to_vec).collect(),
        });
        self.lines = wrapped.collect();
        (self.rows, self.columns, self.row) = (rows, columns, above);
    }
}

/// A program whose standard error is a terminal.
pub(crate) struct Terminal {
    master: File,
    /// The file by which programs open it.
    name: PathBuf,
    screen: Arc<Mutex<Screen>>,
    reader: Option<JoinHandle<()>>,
    pub(crate) child: Child,
}

impl Terminal {
    /// Starts `command` on a terminal of this size.
    pub(crate) fn start(mut command: Command, (rows, columns): (u16, u16)) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = PathBuf::from(ptsname(&master, Vec::new()).unwrap().to_str().unwrap());
        let slave = File::options().read(true).write(true).open(&name).unwrap();
        let terminal = File::from(master);
        set_size(&terminal, rows, columns);
        let child = command.env("TERM", "xterm-256color").stderr(slave).spawn().unwrap();
        // The command holds the other end open until it is gone.
        drop(command);
        let screen = Arc::new(Mutex::new(Screen::new(rows.into(), columns.into())));
        let (mut master, shown) = (terminal.try_clone().unwrap(), screen.clone());
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = master.read(&mut buffer) {
                shown.lock().unwrap().feed(&buffer[..count]);
            }
        });
        Terminal { master: terminal, name, screen, reader: Some(reader), child }
    }

    /// Waits until the screen is so.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, ready: impl Fn(&Screen) -> bool) {
        let is_ready = || ready(&self.screen.lock().unwrap());
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wait_for(what, is_ready)));
        assert!(waited.is_ok(), "waited for {what}: {}", self.screen.lock().unwrap().text().join("\n"));
    }

    /// Stops the program, as a shell does, and lets it go on when another one has written `text`.
    pub(crate) fn stop_and_go_on(&self, text: &str) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).unwrap();
        let stat = format!("/proc/{}/stat", self.child.id());
        wait_for("the stop", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
        let flags = OFlags::NOCTTY.bits().cast_signed();
        let mut shell = File::options().write(true).custom_flags(flags).open(&self.name).unwrap();
        shell.write_all(text.as_bytes()).unwrap();
        kill_process(pid, Signal::CONT).unwrap();
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let mut screen = self.screen.lock().unwrap();
        screen.resize(rows.into(), columns.into());
        set_size(&self.master, rows, columns);
    }

    /// Waits for the end of the program; its exit code, and the screen, which it left as a fresh one.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Option<i32>, Screen) {
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        let screen = std::mem::take(&mut *self.screen.lock().unwrap());
        assert!(screen.errors.is_empty(), "{:?}", screen.errors);
        assert!(screen.changed.is_empty(), "{:?} are still changed", screen.changed);
        (status.code(), screen)
    }
}

impl Drop for Terminal {
    /// A test that fails leaves nothing that waits for it.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(terminal: &File, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}
