//! Reading a log, while it grows if that is wanted.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::{FILE, Line, LogEntry, LogIter, LogOptions, OLDER};
use crate::attach::Stream;
use crate::containers::{is_supervised, lock_path};
use crate::{CancellationToken, Error, Result};

/// How long to sleep when a followed log has nothing new.
const PAUSE: Duration = Duration::from_millis(25);
/// A line of the file that is longer than any that we write is not read.
const MAX_LINE: u64 = 1 << 20;

/// Opens the log of the container whose directory this is.
pub(super) fn open(directory: &Path, options: &LogOptions, stop: CancellationToken) -> Result<LogIter> {
    let since = options.since.as_deref().map(moment).transpose()?;
    let until = options.until.as_deref().map(moment).transpose()?;
    let mut reader =
        Reader { directory: directory.to_owned(), parts: parts(directory)?, partial: Vec::new(), stop };
    let wanted = move |entry: &Result<LogEntry>| match entry {
        Ok(entry) => within(entry, since, until),
        Err(_) => true,
    };
    let past = std::iter::from_fn({
        let mut past = Vec::new();
        while let Some(entry) = reader.next_entry() {
            past.push(entry);
        }
        let mut past: VecDeque<_> = past.into_iter().filter(wanted).collect();
        let surplus = past.len().saturating_sub(options.tail.unwrap_or(usize::MAX));
        past.drain(..surplus);
        move || past.pop_front()
    });
    if !options.follow {
        return Ok(Box::new(past));
    }
    let over = move |entry: &Result<LogEntry>| match entry {
        Ok(entry) => until.is_some_and(|until| moment(&entry.time).is_ok_and(|time| time > until)),
        Err(_) => false,
    };
    let future = std::iter::from_fn(move || reader.wait_entry());
    Ok(Box::new(past.chain(future.take_while(move |entry| !over(entry)).filter(wanted))))
}

fn moment(text: &str) -> Result<Timestamp> {
    text.parse().map_err(|_| Error::invalid(format!("`{text}` is not an RFC 3339 time")))
}

fn within(entry: &LogEntry, since: Option<Timestamp>, until: Option<Timestamp>) -> bool {
    let Ok(time) = entry.time.parse::<Timestamp>() else { return true };
    since.is_none_or(|since| time >= since) && until.is_none_or(|until| time <= until)
}

/// The parts of a log, oldest first; a container that never ran has none.
fn parts(directory: &Path) -> Result<VecDeque<BufReader<File>>> {
    let mut parts = VecDeque::new();
    for name in [OLDER, FILE] {
        match File::open(directory.join(name)) {
            Ok(file) => parts.push_back(BufReader::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::internal("open the log", error)),
        }
    }
    Ok(parts)
}

struct Reader {
    directory: PathBuf,
    parts: VecDeque<BufReader<File>>,
    /// A line whose end is not in the file yet.
    partial: Vec<u8>,
    /// Whether whoever reads has enough.
    stop: CancellationToken,
}

impl Reader {
    /// The next entry that is there now.
    fn next_entry(&mut self) -> Option<Result<LogEntry>> {
        loop {
            let part = self.parts.front_mut()?;
            match io::Read::take(&mut *part, MAX_LINE).read_until(b'\n', &mut self.partial) {
                Ok(_) if self.partial.ends_with(b"\n") => {
                    let line = std::mem::take(&mut self.partial);
                    if let Some(entry) = parse(&line) {
                        return Some(Ok(entry));
                    }
                }
                Ok(0) | Err(_) if self.parts.len() > 1 => drop(self.parts.pop_front()),
                Ok(_) => return None,
                Err(error) => return Some(Err(Error::internal("read the log", error))),
            }
        }
    }

    /// The next entry, when it is there; `None` when the container has ended and everything was read, or it is time to stop.
    fn wait_entry(&mut self) -> Option<Result<LogEntry>> {
        // Before each, for there may always be another.
        while !self.stop.is_cancelled() {
            // Looked at before reading, so that the last words are not missed.
            let lives = is_supervised(&lock_path(&self.directory));
            if let Some(entry) = self.next_entry() {
                return Some(entry);
            }
            if self.find_newer() {
                continue;
            }
            if !lives {
                return None;
            }
            std::thread::sleep(PAUSE);
        }
        None
    }

    /// A log that was full goes on in a new file.
    fn find_newer(&mut self) -> bool {
        let Ok(newest) = File::open(self.directory.join(FILE)) else { return false };
        let inode = |file: &File| file.metadata().map(|metadata| metadata.ino()).ok();
        if self.parts.back().is_some_and(|current| inode(current.get_ref()) == inode(&newest)) {
            return false;
        }
        self.parts.push_back(BufReader::new(newest));
        true
    }
}

/// An entry of the log; a line that is none is passed over.
fn parse(line: &[u8]) -> Option<LogEntry> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let stream = if line.stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
    Some(LogEntry { time: line.time, stream, bytes: line.log.into_bytes() })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn written(directory: &Path, name: &str, lines: &[(u32, &str)]) {
        let mut file =
            std::fs::OpenOptions::new().append(true).create(true).open(directory.join(name)).unwrap();
        for (minute, text) in lines {
            let time = format!("2026-01-01T00:{minute:02}:00.000000000Z");
            let line = Line { log: format!("{text}\n"), stream: "stdout".into(), time };
            writeln!(file, "{}", serde_json::to_string(&line).unwrap()).unwrap();
        }
    }

    fn read(directory: &Path, options: &LogOptions) -> Vec<String> {
        let entries = open(directory, options, CancellationToken::new()).unwrap();
        entries.map(|entry| String::from_utf8(entry.unwrap().bytes).unwrap().trim_end().to_owned()).collect()
    }

    #[test]
    fn parts_are_one_log_of_which_a_piece_can_be_had() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert!(read(path, &LogOptions::default()).is_empty());
        written(path, OLDER, &[(1, "a"), (2, "b")]);
        written(path, FILE, &[(3, "c"), (4, "d")]);
        assert_eq!(read(path, &LogOptions::default()), ["a", "b", "c", "d"]);
        assert_eq!(read(path, &LogOptions { tail: Some(3), ..LogOptions::default() }), ["b", "c", "d"]);
        let middle = LogOptions {
            since: Some("2026-01-01T00:02:00Z".into()),
            until: Some("2026-01-01T00:03:00Z".into()),
            follow: true,
            ..LogOptions::default()
        };
        assert_eq!(read(path, &middle), ["b", "c"]);
        let bad = LogOptions { since: Some("yesterday".into()), ..LogOptions::default() };
        assert!(open(path, &bad, CancellationToken::new()).is_err());
    }

    #[test]
    fn a_followed_log_ends_with_its_supervisor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        written(&path, FILE, &[(1, "a")]);
        let lock = kiln_sys::fs::lock_file(&lock_path(&path)).unwrap();
        let follow = LogOptions { follow: true, ..LogOptions::default() };
        let entries = open(&path, &follow, CancellationToken::new()).unwrap();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || {
                std::thread::sleep(Duration::from_millis(60));
                std::fs::rename(path.join(FILE), path.join(OLDER)).unwrap();
                written(&path, FILE, &[(2, "b")]);
                drop(lock);
            }
        });
        assert_eq!(entries.count(), 2);
        writer.join().unwrap();
    }

    #[test]
    fn whoever_has_enough_waits_for_nothing() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path(), FILE, &[(1, "a")]);
        let _lock = kiln_sys::fs::lock_file(&lock_path(directory.path())).unwrap();
        let stop = CancellationToken::new();
        let follow = LogOptions { follow: true, ..LogOptions::default() };
        let mut entries = open(directory.path(), &follow, stop.clone()).unwrap();
        assert!(entries.next().is_some());
        stop.cancel();
        assert!(entries.next().is_none());
    }
}
