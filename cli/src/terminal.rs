//! The terminal, or what stands in its place: writing, size, raw mode, questions.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use kiln_engine::{Error, Result};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::text;

/// A password longer than this is not one.
const MAX_PASSWORD: usize = 64 << 10;

/// Writes to standard output: exact where it is piped, harmless where it is a terminal.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let shown = if out.is_terminal() { text::neutral(text) } else { text.into() };
    written(out.write_all(shown.as_bytes()).and_then(|()| out.flush()))
}

/// `print` with a line feed.
pub(crate) fn say(line: &str) -> Result<()> {
    print(&format!("{line}\n"))
}

/// Writes bytes of a container as they are.
pub(crate) fn write_raw(to_stderr: bool, bytes: &[u8]) -> Result<()> {
    if to_stderr {
        return written(io::stderr().lock().write_all(bytes));
    }
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()))
}

/// A reader that went away, as `head` does, ends the command as SIGPIPE would.
fn written(result: io::Result<()>) -> Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(141),
        Err(error) => Err(Error::internal("write output", error)),
    }
}

pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether colours are welcome on standard error.
pub(crate) fn stderr_is_coloured() -> bool {
    stderr_is_terminal() && !is_set("NO_COLOR")
}

/// Whether the colours of others' output go to standard error: to a terminal, or to a file or pipe where somebody asks
/// for it as <https://force-color.org> says; never against `NO_COLOR`.
pub(crate) fn stderr_takes_colours() -> bool {
    let is_forced = || std::env::var_os("FORCE_COLOR").is_some_and(|value| value != "0");
    stderr_is_coloured() || (is_set("FORCE_COLOR") && is_forced() && !is_set("NO_COLOR"))
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// `(rows, columns)` of the terminal, from whichever stream is one.
pub(crate) fn size() -> Option<(u16, u16)> {
    let sizes = [tcgetwinsize(io::stderr()), tcgetwinsize(io::stdout()), tcgetwinsize(io::stdin())];
    sizes
        .into_iter()
        .flatten()
        .map(|size| (size.ws_row, size.ws_col))
        .find(|(rows, columns)| *rows > 0 && *columns > 0)
}

/// Writes progress to standard error in one piece. Nothing is left to do where that is closed.
pub(crate) fn write_progress(text: &str) {
    if !text.is_empty() {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Standard input as it was before it was made raw; put back on drop.
#[derive(Debug)]
pub(crate) struct SavedMode(Termios);

/// Passes every key on as it is typed.
pub(crate) fn make_raw() -> Result<SavedMode> {
    change_mode(Termios::make_raw)
}

fn change_mode(change: impl FnOnce(&mut Termios)) -> Result<SavedMode> {
    let fail = |error| Error::internal("change the terminal's mode", io::Error::from(error));
    let saved = tcgetattr(io::stdin()).map_err(fail)?;
    let mut changed = saved.clone();
    change(&mut changed);
    tcsetattr(io::stdin(), OptionalActions::Drain, &changed).map_err(fail)?;
    Ok(SavedMode(saved))
}

impl Drop for SavedMode {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Asks a question and reads the answer; without echo if it is a secret.
pub(crate) fn ask(question: &str, secret: bool) -> Result<String> {
    let mut err = io::stderr();
    let _ = write!(err, "{question}").and_then(|()| err.flush());
    let echo_off = |mode: &mut Termios| mode.local_modes.remove(LocalModes::ECHO);
    let saved = (secret && stdin_is_terminal()).then(|| change_mode(echo_off)).transpose()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| Error::internal("read the answer", error))?;
    if saved.is_some() {
        let _ = writeln!(err);
    }
    if line.len() > MAX_PASSWORD {
        return Err(Error::invalid("the answer is too long"));
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Whether the user agrees; where nobody can be asked, that is a no with a hint.
pub(crate) fn agreed(force: bool, warning: &str) -> Result<bool> {
    if force {
        return Ok(true);
    }
    if !stdin_is_terminal() {
        return Err(Error::invalid("nobody is there to agree")
            .with_hint("give `--force` to go ahead without a question"));
    }
    let answer = ask(&format!("{warning}\nGo ahead? [y/N] "), false)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
