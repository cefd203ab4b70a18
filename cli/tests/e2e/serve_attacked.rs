//! `kiln serve` under those who want it to answer nobody: it ends their connections and goes on for all others.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::daemon::{Daemon, count};
use crate::harness::{Kiln, wait_for};

/// How HTTP/2 begins (RFC 9113, section 3.4), with settings of which each has its usual value.
const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `GET http://docker/_ping` in header compression (RFC 7541): fields of the static table, and two texts.
const HEADERS: &[u8] = b"\x82\x86\x04\x06/_ping\x01\x06docker";
/// Kinds of frames and their flags.
const HEADERS_FRAME: u8 = 1;
const RESET_FRAME: u8 = 3;
const GOODBYE_FRAME: u8 = 7;
const CONTINUATION_FRAME: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `CANCEL` and `ENHANCE_YOUR_CALM`.
const CANCEL: u32 = 8;
const CALM: u32 = 11;
/// More than any limit of the daemon.
const MANY: u32 = 20_000;
/// Those of one user, as `docs/serve.md` says.
const CONNECTIONS: usize = 512;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The reasons for which the other side says goodbye, in what it wrote until the end.
fn goodbyes(mut bytes: &[u8]) -> Vec<u32> {
    let mut reasons = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let (payload, after) = rest.split_at(length.min(rest.len()));
        if let (GOODBYE_FRAME, Some(reason)) = (*kind, payload.get(4..8)) {
            reasons.push(u32::from_be_bytes(reason.try_into().unwrap()));
        }
        bytes = after;
    }
    reasons
}

fn connect(daemon: &Daemon<'_>) -> UnixStream {
    let stream = UnixStream::connect(&daemon.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Writes all, as far as it is taken, and reads until the daemon has ended the connection.
#[track_caller]
fn until_the_end(mut stream: UnixStream, pieces: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Vec<u8> {
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        pieces.map(|piece| writer.write_all(&piece)).take_while(Result::is_ok).count()
    });
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the connection goes on"),
    }
    drop(stream.shutdown(std::net::Shutdown::Both));
    writing.join().unwrap();
    said
}

#[track_caller]
fn answers(daemon: &Daemon<'_>) {
    let answer = daemon.ask("GET /_ping", "", "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn requests_that_are_given_up_at_once_end_their_connection() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    answers(&daemon);
    let before = count(daemon.pid(), "fd");
    let pair = |at: u32| {
        let stream = 2 * at + 1;
        let begun = frame(HEADERS_FRAME, END_STREAM | END_HEADERS, stream, HEADERS);
        [begun, frame(RESET_FRAME, 0, stream, &CANCEL.to_be_bytes())].concat()
    };
    // In one piece, so that the daemon meets many before it has begun with the first.
    let flood = [BEGIN.to_vec(), (0..MANY).flat_map(pair).collect()].concat();
    let said = until_the_end(connect(&daemon), [flood].into_iter());
    assert!(goodbyes(&said).contains(&CALM), "{:?}", goodbyes(&said));
    answers(&daemon);
    wait_for("nothing is left", || count(daemon.pid(), "fd") <= before);
}

#[test]
fn headers_without_an_end_end_their_connection() {
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    // A header that is never complete: 16 KiB a frame, 300 MiB in all.
    let first = [BEGIN, &frame(HEADERS_FRAME, END_STREAM, 1, HEADERS)].concat();
    let literal = [b"\x00\x01x\x7f\x80\x7f".as_slice(), &[b'y'; 16_000]].concat();
    let more = frame(CONTINUATION_FRAME, 0, 1, &literal);
    let pieces = std::iter::once(first).chain(std::iter::repeat_n(more, MANY as usize));
    let said = until_the_end(connect(&daemon), pieces);
    assert!(!goodbyes(&said).is_empty(), "the daemon says why");
    // In HTTP/1.1 too.
    let line = std::iter::once(b"GET /_ping HTTP/1.1\r\nHost: ".to_vec());
    let said =
        until_the_end(connect(&daemon), line.chain(std::iter::repeat_n(vec![b'y'; 16_000], MANY as usize)));
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&said));
    answers(&daemon);
}

#[test]
fn one_user_does_not_take_the_places_of_all_others() {
    const USER: u32 = 424_243;
    let kiln = Kiln::new();
    let daemon = Daemon::start(&kiln);
    for path in [kiln.root().parent().unwrap().to_owned(), daemon.socket.clone()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let socket = daemon.socket.clone();
    // The kernel notes who a thread is when it connects.
    let connecting = std::thread::spawn(move || {
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(USER)).unwrap();
        (0..CONNECTIONS + 1).map(|_| UnixStream::connect(&socket).unwrap()).collect::<Vec<_>>()
    });
    let mut held = connecting.join().unwrap();
    let mut one_too_many = held.pop().unwrap();
    one_too_many.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(one_too_many.read(&mut [0]).unwrap(), 0, "it is closed at once");
    answers(&daemon);
    let mut first = held.swap_remove(0);
    first.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n").unwrap();
    let mut said = String::new();
    first.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "those who were there first are served: {said}");
}
