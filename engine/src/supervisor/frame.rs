//! What a supervisor and those who watch a container say to each other: frames with a header of eight bytes, as
//! Docker's streams have them.

use std::io::{self, Read};

/// Type, three zero bytes, length in network order.
const HEADER: usize = 8;
/// A longer frame is not one of ours.
const MAX_PAYLOAD: usize = 1 << 20;

/// One message. Those up to `Failed` come from the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// What the container wrote to standard output (or its terminal).
    Stdout(Vec<u8>),
    /// What it wrote to standard error.
    Stderr(Vec<u8>),
    /// The container ended with this code, and the database knows it.
    Exited(i32),
    /// The container (or the exec asked for) runs.
    Started,
    /// It does not, for the reason in this JSON text.
    Failed(Vec<u8>),
    /// Bytes for standard input.
    Input(Vec<u8>),
    /// No more bytes for standard input.
    CloseInput,
    /// The terminal's size: rows, columns.
    Resize(u16, u16),
    /// A signal for the container's first process.
    Signal(i32),
    /// From now on send me the container's output.
    Watch,
    /// Run this process (JSON) beside the container's.
    Exec(Vec<u8>),
    /// The container is there: run it. The creator's first word.
    Begin,
}

impl Frame {
    /// The bytes on the wire.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, payload): (u8, &[u8]) = match self {
            Frame::Input(bytes) => (0, bytes),
            Frame::Stdout(bytes) => (1, bytes),
            Frame::Stderr(bytes) => (2, bytes),
            Frame::Exited(code) => (3, &code.to_be_bytes()),
            Frame::Started => (4, &[]),
            Frame::Failed(text) => (5, text),
            Frame::CloseInput => (6, &[]),
            Frame::Resize(rows, columns) => {
                let [a, b] = rows.to_be_bytes();
                let [c, d] = columns.to_be_bytes();
                (7, &[a, b, c, d])
            }
            Frame::Signal(signal) => (8, &signal.to_be_bytes()),
            Frame::Watch => (9, &[]),
            Frame::Exec(text) => (10, text),
            Frame::Begin => (11, &[]),
        };
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    fn decode(kind: u8, payload: &[u8]) -> Option<Frame> {
        Some(match (kind, payload) {
            (0, bytes) => Frame::Input(bytes.to_vec()),
            (1, bytes) => Frame::Stdout(bytes.to_vec()),
            (2, bytes) => Frame::Stderr(bytes.to_vec()),
            (3, bytes) => Frame::Exited(i32::from_be_bytes(bytes.try_into().ok()?)),
            (4, []) => Frame::Started,
            (5, bytes) => Frame::Failed(bytes.to_vec()),
            (6, []) => Frame::CloseInput,
            (7, [a, b, c, d]) => Frame::Resize(u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])),
            (8, bytes) => Frame::Signal(i32::from_be_bytes(bytes.try_into().ok()?)),
            (9, []) => Frame::Watch,
            (10, bytes) => Frame::Exec(bytes.to_vec()),
            (11, []) => Frame::Begin,
            _ => return None,
        })
    }

    /// Reads one frame; `None` at the end of the stream.
    pub(crate) fn read(mut stream: impl Read) -> io::Result<Option<Frame>> {
        let mut decoder = Decoder::default();
        loop {
            let mut chunk = vec![0; decoder.missing()?];
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(count) => decoder.feed(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if let Some(frame) = decoder.next()? {
                return Ok(Some(frame));
            }
        }
    }
}

/// Puts frames together from the pieces in which they arrive.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame.
    pub(crate) fn next(&mut self) -> io::Result<Option<Frame>> {
        let Some(length) = self.length()? else { return Ok(None) };
        if self.bytes.len() < HEADER + length {
            return Ok(None);
        }
        let rest = self.bytes.split_off(HEADER + length);
        let frame = std::mem::replace(&mut self.bytes, rest);
        Frame::decode(frame[0], &frame[HEADER..]).map(Some).ok_or_else(invalid)
    }

    /// How many bytes the next frame lacks.
    fn missing(&self) -> io::Result<usize> {
        let whole = self.length()?.map_or(HEADER, |length| HEADER + length);
        Ok(whole.saturating_sub(self.bytes.len()))
    }

    fn length(&self) -> io::Result<Option<usize>> {
        let Some(bytes) = self.bytes.get(4..HEADER) else { return Ok(None) };
        let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        if length > MAX_PAYLOAD { Err(invalid()) } else { Ok(Some(length)) }
    }
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a frame of a kiln supervisor")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Frame> {
        vec![
            Frame::Input(b"in".to_vec()),
            Frame::Stdout(vec![7; 70_000]),
            Frame::Stderr(Vec::new()),
            Frame::Exited(-1),
            Frame::Started,
            Frame::Failed(b"{}".to_vec()),
            Frame::CloseInput,
            Frame::Resize(24, 80),
            Frame::Signal(15),
            Frame::Watch,
            Frame::Exec(b"{}".to_vec()),
            Frame::Begin,
        ]
    }

    #[test]
    fn frames_survive_the_wire_in_any_pieces() {
        let bytes: Vec<u8> = all().iter().flat_map(Frame::encode).collect();
        let mut stream = bytes.as_slice();
        for frame in all() {
            assert_eq!(Frame::read(&mut stream).unwrap(), Some(frame));
        }
        assert_eq!(Frame::read(&mut stream).unwrap(), None);
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for piece in bytes.chunks(7) {
            decoder.feed(piece);
            while let Some(frame) = decoder.next().unwrap() {
                seen.push(frame);
            }
        }
        assert_eq!(seen, all());
    }

    #[test]
    fn strangers_are_refused() {
        assert!(Frame::read(&[99, 0, 0, 0, 0, 0, 0, 0][..]).is_err());
        assert!(Frame::read(&[1, 0, 0, 0, 255, 255, 255, 255][..]).is_err());
        assert!(Frame::read(&[7, 0, 0, 0, 0, 0, 0, 1, 9][..]).is_err());
    }
}
