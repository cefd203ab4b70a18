//! The Language Server Protocol 3.17 over a pair of streams: Dockerfiles in an editor.
//!
//! ```text
//! stream --frame--> bytes --message--> request --server--> engine's answer --answers--> protocol --frame--> stream
//! ```

mod answers;
mod documents;
mod frame;
mod message;
mod position;
mod protocol;
mod server;
#[cfg(test)]
mod tests;

use std::io::{BufRead, Write};

use frame::Frame;
use message::{Code, Failure};
use server::Server;

/// Why a session ended without the client saying so.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Reading or writing failed.
    #[error("talk to the editor")]
    Io(#[from] std::io::Error),
    /// Where a message ends is not known, so nothing after it can be read.
    #[error("the editor sent no message: {0}")]
    Frame(&'static str),
    /// The stream ended, or `exit` came before `shutdown`.
    #[error("the editor went away without `shutdown` and `exit`")]
    Gone,
}

/// Answers a client until it says `exit`. Whatever it sends, each request is answered, with an error if need be.
pub fn serve(input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), SessionError> {
    let mut server = Server::default();
    loop {
        let answers = match frame::read(input)? {
            Frame::Message(bytes) => server.receive(&bytes),
            Frame::TooLarge(length) => {
                let message = format!("a message of {length} bytes is too large");
                vec![message::error(None, &Failure::new(Code::InvalidRequest, message))]
            }
            Frame::Malformed(why) => {
                frame::write(output, &message::error(None, &Failure::new(Code::ParseError, why)))?;
                return Err(SessionError::Frame(why));
            }
            Frame::End => return Err(SessionError::Gone),
        };
        for answer in answers {
            frame::write(output, &answer)?;
        }
        match server.ended() {
            Some(true) => return Ok(()),
            Some(false) => return Err(SessionError::Gone),
            None => {}
        }
    }
}
