//! Messages on a stream: headers, an empty line, as many bytes as `Content-Length` says.

use std::io::{self, BufRead, Read as _, Write};

use serde_json::Value;

/// Largest message: a file of the largest size, its characters written as JSON escapes, and some more.
const MAX_MESSAGE: u64 = 64 << 20;
/// Largest line of a header.
const MAX_HEADER: u64 = 4 << 10;
/// Most headers of a message.
const MAX_HEADERS: usize = 32;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The bytes of a message.
    Message(Vec<u8>),
    /// A message of so many bytes, which were skipped.
    TooLarge(u64),
    /// Something else: where it ends is not known.
    Malformed(&'static str),
    /// The stream ended between two messages.
    End,
}

/// Reads one message.
pub(super) fn read(input: &mut dyn BufRead) -> io::Result<Frame> {
    let mut length = None;
    for count in 0..=MAX_HEADERS {
        let mut line = Vec::new();
        input.take(MAX_HEADER).read_until(b'\n', &mut line)?;
        if line.is_empty() && count == 0 {
            return Ok(Frame::End);
        }
        let Some(line) = line.strip_suffix(b"\n") else {
            return Ok(Frame::Malformed("a header line is too long or has no end"));
        };
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        if line.is_empty() {
            let Some(length) = length else {
                return Ok(Frame::Malformed("there is no `Content-Length` header"));
            };
            return body(input, length);
        }
        let Some((name, value)) = line.split_once(':') else {
            return Ok(Frame::Malformed("a header line has no `:`"));
        };
        if name.eq_ignore_ascii_case("Content-Length") {
            let Ok(value) = value.trim().parse() else {
                return Ok(Frame::Malformed("the `Content-Length` header is not a number"));
            };
            length = Some(value);
        }
    }
    Ok(Frame::Malformed("there are too many headers"))
}

fn body(input: &mut dyn BufRead, length: u64) -> io::Result<Frame> {
    let mut body = input.take(length);
    if length > MAX_MESSAGE {
        io::copy(&mut body, &mut io::sink())?;
        return Ok(Frame::TooLarge(length));
    }
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes)?;
    let is_whole = bytes.len() as u64 == length;
    Ok(if is_whole { Frame::Message(bytes) } else { Frame::Malformed("the stream ends inside a message") })
}

/// Writes one message.
pub(super) fn write(output: &mut dyn Write, message: &Value) -> io::Result<()> {
    let body = message.to_string();
    write!(output, "Content-Length: {}\r\n\r\n{body}", body.len())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(text: &str) -> Vec<Frame> {
        let mut input = text.as_bytes();
        let mut found = Vec::new();
        loop {
            let frame = read(&mut input).unwrap();
            let is_last = matches!(frame, Frame::End | Frame::Malformed(_));
            found.push(frame);
            if is_last {
                return found;
            }
        }
    }

    #[test]
    fn messages_follow_each_other() {
        let text = "Content-Length: 2\r\n\r\n{}content-length:3\r\nContent-Type: x; charset=utf-8\r\n\r\nabc";
        let expected = [Frame::Message(b"{}".to_vec()), Frame::Message(b"abc".to_vec()), Frame::End];
        assert_eq!(frames(text), expected);
    }

    #[test]
    fn what_is_too_large_is_skipped_and_the_rest_read() {
        let large = MAX_MESSAGE + 1;
        let body = "x".repeat(large as usize);
        let text = format!("Content-Length: {large}\r\n\r\n{body}Content-Length: 1\r\n\r\n1");
        assert_eq!(frames(&text), [Frame::TooLarge(large), Frame::Message(b"1".to_vec()), Frame::End]);
    }

    #[test]
    fn what_is_no_message_is_malformed() {
        let endless = "x".repeat(MAX_HEADER as usize + 10);
        let many = "a: b\r\n".repeat(MAX_HEADERS + 1);
        for bad in [
            "\r\n",
            "Content-Length: -1\r\n\r\n",
            "Content-Length: 99999999999999999999999\r\n\r\n",
            "Content-Length: 5\r\n\r\nabc",
            "Content-Length: 5",
            "hello\r\n",
            "{\"jsonrpc\":\"2.0\"}\n",
            &endless,
            &many,
        ] {
            assert!(matches!(frames(bad)[..], [Frame::Malformed(_)]), "{bad}");
        }
        assert_eq!(frames(""), [Frame::End]);
    }
}
