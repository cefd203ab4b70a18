//! An agent with keys of its own, for one build.

use std::io;

use futures_util::future::BoxFuture;
use kiln_builder::SshAgent;
use kiln_builder::ssh::{FAILURE, IDENTITIES_ANSWER, REQUEST_IDENTITIES, SIGN_REQUEST, SIGN_RESPONSE};

use super::key::Key;
use super::wire::{Reader, put_string};

/// Signs with these keys, and does nothing else.
pub(super) struct KeyAgent(pub(super) Vec<Key>);

impl SshAgent for KeyAgent {
    fn answer(&self, request: Vec<u8>) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        let answer = match request.split_first() {
            Some((&REQUEST_IDENTITIES, [])) => Some(self.identities()),
            Some((&SIGN_REQUEST, rest)) => self.sign(rest),
            _ => None,
        };
        Box::pin(std::future::ready(Ok(answer.unwrap_or_else(|| FAILURE.to_vec()))))
    }
}

impl KeyAgent {
    fn identities(&self) -> Vec<u8> {
        let mut answer = vec![IDENTITIES_ANSWER];
        answer.extend_from_slice(&(self.0.len() as u32).to_be_bytes());
        for key in &self.0 {
            put_string(&mut answer, &key.public);
            put_string(&mut answer, key.comment.as_bytes());
        }
        answer
    }

    fn sign(&self, request: &[u8]) -> Option<Vec<u8>> {
        let mut request = Reader(request);
        let (public, data, flags) = (request.string()?, request.string()?, request.number()?);
        let key = self.0.iter().find(|key| key.public == public)?;
        let mut answer = vec![SIGN_RESPONSE];
        put_string(&mut answer, &key.sign(data, flags)?);
        Some(answer)
    }
}
