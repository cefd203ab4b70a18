//! Ours to the container's streams and back: raw mode, resizes, signals, the keys that detach.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use kiln_engine::attach::{Attach, AttachInput, AttachOutput, Stream};
use kiln_engine::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::terminal;

const STDIN_BUFFER: usize = 32 << 10;

/// How we are connected.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// Our standard input goes in.
    pub(crate) stdin: bool,
    /// The program has a terminal.
    pub(crate) tty: bool,
    /// Signals to us go to the program.
    pub(crate) forward_signals: bool,
    /// The keys that detach; empty for none.
    pub(crate) detach_keys: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The program ended with this code.
    Exited(i32),
    /// The user detached; it goes on.
    Detached,
}

enum Happened {
    OutputEnded(Result<()>),
    Detached,
}

/// Moves bytes until the program ends or the user detaches.
pub(crate) fn connect(attach: Attach, connection: &Connection) -> Result<Ended> {
    let Attach { input, output, mut exit } = attach;
    let raw = (connection.tty && connection.stdin && terminal::stdin_is_terminal())
        .then(terminal::make_raw)
        .transpose()?;
    let (happened, wait) = channel();
    if connection.stdin {
        let keys = if connection.tty { connection.detach_keys.clone() } else { Vec::new() };
        let (input, happened) = (Arc::clone(&input), happened.clone());
        thread::spawn(move || send_input(&*input, keys, &happened));
    }
    let (resizes, forwards) = (connection.tty, connection.forward_signals && !connection.tty);
    if resizes || forwards {
        thread::spawn(move || watch_signals(&*input, resizes, forwards));
    }
    thread::spawn(move || {
        let _ = happened.send(Happened::OutputEnded(receive_output(output)));
    });
    let ended = match wait.recv() {
        Ok(Happened::Detached) => Ended::Detached,
        Ok(Happened::OutputEnded(result)) => {
            result?;
            Ended::Exited(exit.wait()?)
        }
        Err(_) => Ended::Exited(exit.wait()?),
    };
    drop(raw);
    Ok(ended)
}

fn receive_output(mut output: Box<dyn AttachOutput>) -> Result<()> {
    while let Some(chunk) = output.next()? {
        terminal::write_raw(chunk.stream == Stream::Stderr, &chunk.bytes)?;
    }
    Ok(())
}

/// Errors end it silently: a program that does not read any more is no failure of ours.
fn send_input(input: &dyn AttachInput, keys: Vec<u8>, happened: &Sender<Happened>) {
    let mut detach = DetachKeys::new(keys);
    let mut buffer = vec![0; STDIN_BUFFER];
    let mut stdin = std::io::stdin().lock();
    loop {
        let count = match stdin.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let (pass, detached) = detach.filter(&buffer[..count]);
        if !pass.is_empty() && input.write(&pass).is_err() {
            return;
        }
        if detached {
            let _ = happened.send(Happened::Detached);
            return;
        }
    }
    let _ = input.close();
}

/// Signals as they arrive, on a runtime of this thread alone.
fn watch_signals(input: &dyn AttachInput, resizes: bool, forwards: bool) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    runtime.block_on(async {
        let mut signals = Vec::new();
        let forwarded = FORWARDED.iter().filter(|_| forwards).map(|(kind, name)| (*kind, Some(*name)));
        let resize = resizes.then(|| (SignalKind::window_change(), None));
        for (kind, name) in forwarded.chain(resize) {
            signals.extend(signal(kind).map(|signal| (signal, name)));
        }
        if resizes {
            resize_to_ours(input);
        }
        while let Some(name) = next(&mut signals).await {
            match name {
                None => resize_to_ours(input),
                Some(name) => drop(input.signal(name)),
            }
        }
    });
}

const FORWARDED: [(SignalKind, &str); 6] = [
    (SignalKind::interrupt(), "INT"),
    (SignalKind::terminate(), "TERM"),
    (SignalKind::hangup(), "HUP"),
    (SignalKind::quit(), "QUIT"),
    (SignalKind::user_defined1(), "USR1"),
    (SignalKind::user_defined2(), "USR2"),
];

type Named = Option<&'static str>;

async fn next(signals: &mut [(Signal, Named)]) -> Option<Named> {
    std::future::poll_fn(|context| {
        for (signal, name) in signals.iter_mut() {
            if let std::task::Poll::Ready(Some(())) = signal.poll_recv(context) {
                return std::task::Poll::Ready(Some(*name));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

fn resize_to_ours(input: &dyn AttachInput) {
    if let Some((rows, columns)) = terminal::size() {
        let _ = input.resize(rows, columns);
    }
}

/// Finds the detach sequence in what is typed, and holds back its beginning until it is known not to be one.
#[derive(Debug)]
struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    fn new(keys: Vec<u8>) -> Self {
        DetachKeys { keys, matched: 0 }
    }

    /// What to pass on, and whether the sequence is complete.
    fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        if self.keys.is_empty() {
            return (typed.to_vec(), false);
        }
        let mut pass = Vec::with_capacity(typed.len());
        for byte in typed {
            if *byte != self.keys[self.matched] {
                pass.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if *byte == self.keys[self.matched] {
                self.matched += 1;
            } else {
                pass.push(*byte);
            }
            if self.matched == self.keys.len() {
                return (pass, true);
            }
        }
        (pass, false)
    }
}

/// `ctrl-p,ctrl-q` or `a,b,c` as bytes.
pub(crate) fn detach_keys(text: &str) -> Result<Vec<u8>> {
    let key = |key: &str| match key.as_bytes() {
        [] => None,
        [byte] => Some(*byte),
        _ => match key.strip_prefix("ctrl-")?.as_bytes() {
            [letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => Some(letter & 0x1f),
            _ => None,
        },
    };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(key).collect::<Option<Vec<u8>>>().ok_or_else(|| {
        Error::invalid(format!(
            "`--detach-keys {text}`: keys are letters or `ctrl-` and a letter, with commas between"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_letters_and_controls() {
        assert_eq!(detach_keys("ctrl-p,ctrl-q").unwrap(), [16, 17]);
        assert_eq!(detach_keys("a,ctrl-[").unwrap(), [b'a', 27]);
        assert!(detach_keys("").unwrap().is_empty());
        for bad in ["ctrl-", "ctrl-1", "ctrl-p,,q", "alt-x"] {
            assert!(detach_keys(bad).is_err(), "`{bad}` was accepted");
        }
    }

    #[test]
    fn what_only_looks_like_detaching_is_passed_on() {
        let mut detach = DetachKeys::new(vec![16, 17]);
        assert_eq!(detach.filter(b"ab"), (b"ab".to_vec(), false));
        assert_eq!(detach.filter(&[16]), (vec![], false));
        assert_eq!(detach.filter(b"x"), (vec![16, b'x'], false));
        assert_eq!(detach.filter(&[16, 16]), (vec![16], false));
        assert_eq!(detach.filter(&[17, b'z']), (vec![], true));
    }
}
