//! A blob that is sent while it is being made: as one body of unknown length, ended with its digest when that is known.
//!
//! That is how Docker sends every blob, so each registry takes it; where one does not, the blob is sent again when it is whole.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};
use kiln_oci::Descriptor;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Method, Url};

use crate::body::SourceBody;
use crate::error::{Error, ErrorKind, Result};
use crate::push::{BlobSource, Pushed, exists, location, push_blob, start_upload};
use crate::session::Session;
use crate::transport::{Body, Request};
use crate::upload::Upload;

/// Where an upload goes on; where it broke off, why, and the place only if it was begun.
type Sent = Result<Url, (Option<Url>, Error)>;

/// Makes the repository have the blob that `source` gives as far as it is made. `made` says what it is when all of it is
/// there, or that nothing comes of it.
pub(crate) async fn push_growing(
    session: &Session,
    source: Arc<dyn BlobSource>,
    made: impl Future<Output = Option<Descriptor>>,
) -> Result<Option<(Descriptor, Pushed)>> {
    let (made, sending) = (pin!(made), pin!(send(session, Arc::clone(&source))));
    let (descriptor, sent) = match select(made, sending).await {
        Either::Left((None, _)) => return Ok(None),
        Either::Left((Some(descriptor), sending)) => {
            match unless_there(session, &descriptor, sending).await {
                Some(sent) => (descriptor, sent),
                None => return Ok(Some((descriptor, Pushed::Existed))),
            }
        }
        Either::Right((sent, made)) => match made.await {
            Some(descriptor) => (descriptor, sent),
            None => return Ok(None),
        },
    };
    let pushed = match sent {
        Ok(location) => {
            Upload::new(session, &descriptor, source, location).end().await?;
            Pushed::Uploaded
        }
        Err((Some(location), error)) if error.kind == ErrorKind::Unavailable => {
            Upload::new(session, &descriptor, source, location).resume(error).await?;
            Pushed::Uploaded
        }
        Err((_, error)) => {
            tracing::info!(%error, "the blob is sent again now that it is whole");
            push_blob(session, &descriptor, source, None).await?
        }
    };
    Ok(Some((descriptor, pushed)))
}

/// Starts an upload and sends all that `source` gives.
async fn send(session: &Session, source: Arc<dyn BlobSource>) -> Sent {
    let place = start_upload(session).await.map_err(|error| (None, error))?;
    let body = Body::Source(SourceBody::new(source, None));
    let request = Request::new(Method::PATCH, place.clone())
        .header(CONTENT_TYPE, "application/octet-stream")
        .body(body);
    // One attempt only: a second would append to what the registry has of the first.
    let answer = session.clone().impatient().expect(&request, &[200, 201, 202, 204]).await;
    let next = answer.and_then(|answer| match answer.headers().contains_key(LOCATION) {
        true => location(&request, &answer),
        false => Ok(place.clone()),
    });
    next.map_err(|error| (Some(place), error))
}

/// Waits until all is sent, but for no longer than until it is known that the repository has the blob anyway.
async fn unless_there(
    session: &Session,
    descriptor: &Descriptor,
    sending: impl Future<Output = Sent> + Unpin,
) -> Option<Sent> {
    match select(pin!(exists(session, descriptor)), sending).await {
        Either::Left((Ok(true), _)) => None,
        Either::Left((_, sending)) => Some(sending.await),
        Either::Right((sent, _)) => Some(sent),
    }
}
