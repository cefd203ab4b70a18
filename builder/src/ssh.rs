//! SSH agents as a build sees them: messages, and who answers them (draft-ietf-sshm-ssh-agent).

mod door;

use std::io;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

pub(crate) use door::{Door, listen};

/// The longest message, as in OpenSSH.
pub const MAX_MESSAGE: usize = 256 << 10;
/// The answer of an agent that does not do what it was asked.
pub const FAILURE: [u8; 1] = [5];
/// Asks which keys there are.
pub const REQUEST_IDENTITIES: u8 = 11;
/// The answer to that.
pub const IDENTITIES_ANSWER: u8 = 12;
/// Asks for a signature.
pub const SIGN_REQUEST: u8 = 13;
/// The answer to that.
pub const SIGN_RESPONSE: u8 = 14;

/// Who has keys and signs with them.
pub trait SshAgent: Send + Sync {
    /// The answer to one message, both without their length. An error is told as a failure without its reason.
    fn answer(&self, request: Vec<u8>) -> BoxFuture<'_, io::Result<Vec<u8>>>;
}

/// Whether a step may ask this: which keys there are, and for signatures. It adds, removes and locks nothing.
pub fn is_harmless(request: &[u8]) -> bool {
    matches!(request.first(), Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)))
}

/// An agent behind a socket of this machine.
#[derive(Debug, Clone)]
pub struct SocketAgent(pub PathBuf);

impl SshAgent for SocketAgent {
    fn answer(&self, request: Vec<u8>) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            let mut agent = UnixStream::connect(&self.0).await?;
            write_message(&mut agent, &request).await?;
            read_message(&mut agent).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        })
    }
}

/// Reads a message; `None` where the other side is gone.
pub async fn read_message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let length = match from.read_u32().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other? as usize,
    };
    if length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message).await?;
    Ok(Some(message))
}

/// Writes a message with its length.
pub async fn write_message(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    to.write_all(&[&length.to_be_bytes(), message].concat()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_have_a_length_and_a_limit() {
        let mut wire = Vec::new();
        write_message(&mut wire, b"\x0bx").await.unwrap();
        assert_eq!(wire, b"\0\0\0\x02\x0bx");
        assert_eq!(read_message(&mut wire.as_slice()).await.unwrap(), Some(b"\x0bx".to_vec()));
        assert_eq!(read_message(&mut &b""[..]).await.unwrap(), None);
        assert!(read_message(&mut &b"\xff\xff\xff\xff"[..]).await.is_err());
        assert!(read_message(&mut &b"\0\0\0\x02x"[..]).await.is_err());
    }

    #[test]
    fn only_keys_and_signatures_may_be_asked_for() {
        for kind in 0..=u8::MAX {
            assert_eq!(is_harmless(&[kind]), kind == 11 || kind == 13, "{kind}");
        }
        assert!(!is_harmless(&[]));
    }
}
