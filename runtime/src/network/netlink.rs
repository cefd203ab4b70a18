//! A small netlink client: messages are built and read here, byte by byte.

use std::io;

use kiln_sys::netlink::{Family, Socket};

pub(crate) const REQUEST: u16 = 0x1;
pub(crate) const ACK: u16 = 0x4;
pub(crate) const EXCL: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
/// Asks for all there is of a kind; the answers end without an acknowledgement.
pub(crate) const DUMP: u16 = 0x300;

const NESTED: u16 = 0x8000;
const HEADER: usize = 16;
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// A transaction that fails as a whole is answered with the number of its first message.
const BATCH_SEQUENCE: u32 = 0;
/// Datagrams read for one request at most; a peer that never acknowledges is an error, not a hang.
const MAX_DATAGRAMS: usize = 4096;

/// One message being built.
#[derive(Clone, Debug)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// Starts a message of this type. `flags` beyond request and acknowledgement.
    pub(crate) fn new(kind: u16, flags: u16) -> Message {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST | ACK).to_ne_bytes());
        Message(bytes)
    }

    /// Appends the fixed part that follows the header.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Message {
        self.0.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Appends an attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Message {
        let length = u16::try_from(value.len() + 4).expect("attributes are short");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.pad();
        self
    }

    /// Appends a number in the machine's byte order.
    pub(crate) fn number(self, kind: u16, value: u32) -> Message {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Appends a string with its final zero.
    pub(crate) fn string(self, kind: u16, value: &str) -> Message {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Appends an attribute that holds others.
    pub(crate) fn nested(mut self, kind: u16, inside: impl FnOnce(Message) -> Message) -> Message {
        let start = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        let mut message = inside(self);
        let length = u16::try_from(message.0.len() - start).expect("attributes are short");
        message.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        message
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("messages are short");
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// A conversation with the kernel.
#[derive(Debug)]
pub(crate) struct Client {
    socket: Socket,
    sequence: u32,
}

impl Client {
    /// Opens one in the calling thread's network namespace.
    pub(crate) fn open(family: Family) -> io::Result<Client> {
        Ok(Client { socket: Socket::open(family)?, sequence: 0 })
    }

    /// Sends one message and gives the payloads of its answers.
    pub(crate) fn ask(&mut self, message: Message) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        self.socket.send(&message.finish(self.sequence))?;
        self.answers(self.sequence)
    }

    /// Sends several messages in one datagram. The first failure is the result; later messages are done all the same.
    pub(crate) fn tell<const N: usize>(&mut self, messages: [Message; N]) -> io::Result<()> {
        let first = self.sequence + 1;
        let mut datagram = Vec::new();
        for message in messages {
            self.sequence += 1;
            datagram.extend(message.finish(self.sequence));
        }
        self.socket.send(&datagram)?;
        self.acknowledgements(first)
    }

    /// Sends a netfilter transaction. The first failure is the result, and then nothing was done.
    pub(crate) fn transact(&mut self, messages: Vec<Message>) -> io::Result<()> {
        let first = self.sequence + 1;
        let mut datagram = batch_edge(BATCH_BEGIN);
        for message in messages {
            self.sequence += 1;
            datagram.extend(message.finish(self.sequence));
        }
        datagram.extend(batch_edge(BATCH_END));
        self.socket.send(&datagram)?;
        self.acknowledgements(first)
    }

    /// Waits for those of every message from `first` on.
    fn acknowledgements(&mut self, first: u32) -> io::Result<()> {
        let mut result = Ok(());
        for sequence in first..=self.sequence {
            let answer = self.answers(sequence);
            result = result.and(answer.map(drop));
        }
        result
    }

    fn answers(&mut self, sequence: u32) -> io::Result<Vec<Vec<u8>>> {
        let mut payloads = Vec::new();
        for _ in 0..MAX_DATAGRAMS {
            let mut rest = self.socket.receive()?;
            while let Some((kind, number, payload, next)) = split_message(rest) {
                rest = next;
                match kind {
                    TYPE_ERROR if number == BATCH_SEQUENCE => error_of(payload)?,
                    _ if number != sequence => {}
                    TYPE_ERROR => return error_of(payload).map(|()| payloads),
                    TYPE_DONE => return Ok(payloads),
                    _ => payloads.push(payload.to_vec()),
                }
            }
        }
        Err(io::Error::other("the kernel does not answer"))
    }
}

/// The first or last message of a netfilter transaction, for the nftables subsystem; it is not acknowledged.
fn batch_edge(kind: u16) -> Vec<u8> {
    let mut edge = Message::new(kind, 0).raw(&[0, 0, 0, 10]).finish(BATCH_SEQUENCE);
    edge[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    edge
}

/// Type, sequence number and payload of the first message, and what follows it.
fn split_message(bytes: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let sequence = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
    let payload = bytes.get(HEADER..length)?;
    Some((kind, sequence, payload, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// An acknowledgement is an error message whose number is 0.
fn error_of(payload: &[u8]) -> io::Result<()> {
    let number = payload.get(..4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match number {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The value of the first attribute of this type.
pub(crate) fn find_attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while bytes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let kind = u16::from_ne_bytes([bytes[2], bytes[3]]) & 0x3fff;
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_nested_and_found() {
        let message = Message::new(16, CREATE)
            .raw(&[7; 5])
            .string(3, "eth0")
            .nested(18, |inner| inner.number(4, 1400).string(1, "veth"))
            .finish(9);
        assert_eq!(message.len() % 4, 0);
        let (kind, sequence, payload, rest) = split_message(&message).unwrap();
        assert_eq!((kind, sequence, rest.len()), (16, 9, 0));
        let attributes = &payload[8..];
        assert_eq!(find_attribute(attributes, 3), Some(&b"eth0\0"[..]));
        let inner = find_attribute(attributes, 18).unwrap();
        assert_eq!(find_attribute(inner, 4), Some(&1400u32.to_ne_bytes()[..]));
        assert_eq!(find_attribute(inner, 5), None);
    }

    #[test]
    fn damaged_bytes_are_no_message() {
        assert!(split_message(&[1, 2, 3]).is_none());
        assert!(split_message(&[200, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).is_none());
        assert!(find_attribute(&[2, 0, 3, 0], 3).is_none());
        assert!(error_of(&[1]).is_err());
    }
}
