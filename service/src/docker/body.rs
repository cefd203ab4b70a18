//! Bodies of requests: JSON of a bounded size, and streams as blocking readers.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::Failure;

/// Bytes of a JSON body.
const MAX_JSON: usize = 4 << 20;

/// A JSON body; nothing where the request has none.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) Option<T>);

impl<T> Json<T> {
    /// The value, without which the request makes no sense.
    pub(crate) fn required(self) -> Result<T, Failure> {
        self.0.ok_or_else(|| Failure::bad_request("invalid JSON: got EOF while reading request body"))
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Json<T>, Failure> {
        let kind = request.headers().get(header::CONTENT_TYPE).cloned();
        let bytes = read(request.into_body()).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Json(None));
        }
        // A page of a browser can send other types to strangers without asking.
        let kind = kind.as_ref().and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.split(';').next().map(str::trim) != Some("application/json") {
            let message = format!("unsupported Content-Type header ({kind}): must be 'application/json'");
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Json).map_err(|error| Failure::bad_request(format!("invalid JSON: {error}")))
    }
}

async fn read(body: Body) -> Result<Vec<u8>, Failure> {
    match Limited::new(body, MAX_JSON).collect().await {
        Ok(whole) => Ok(whole.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("the body of the request is larger than {MAX_JSON} bytes");
            Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message))
        }
        Err(error) => Err(Failure::bad_request(format!("cannot read the body of the request: {error}"))),
    }
}
