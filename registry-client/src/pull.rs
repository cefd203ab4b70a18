//! Blobs on their way in.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;

use crate::Result;

/// A blob's bytes as they arrive; size and digest are verified when the last one has.
#[derive(Debug)]
pub struct BlobStream {}

impl Stream for BlobStream {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        todo!()
    }
}
