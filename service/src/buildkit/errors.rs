//! Errors of the engine as gRPC statuses, with the lines that are to blame where there are any.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::google::protobuf::Any;
use bollard_buildkit_proto::google::rpc;
use kiln_engine::progress::WarningPlace;
use kiln_engine::{Error, ErrorKind};
use prost::Message as _;
use serde_json::json;
use tonic::{Code, Status};

use crate::error::status as wire;

/// By which BuildKit's clients know the place of an error; its value is JSON.
const SOURCE: &str = "github.com/moby/buildkit/errdefs.Source+json";
/// What the languages of source texts are called.
pub(super) const LANGUAGE: &str = "Dockerfile";
/// The longest text of which a place is sent with its error.
const MAX_TEXT: usize = 1 << 20;

/// What is told of an error.
pub(super) fn status(error: &Error) -> Status {
    let code = code(error.kind);
    let hint = error.hint.as_deref().map(|hint| format!("\n{hint}")).unwrap_or_default();
    let message = match error.kind {
        // A client that hears this shows the build as given up and not as failed.
        ErrorKind::Cancelled => "context canceled".to_owned(),
        _ => format!("{}{hint}", error.chain()),
    };
    let Some(place) = error.place.as_deref().filter(|place| place.text.len() <= MAX_TEXT) else {
        return Status::new(code, message);
    };
    let detail = Any { type_url: SOURCE.to_owned(), value: source(place).into_bytes() };
    let told = rpc::Status { code: code.into(), message: message.clone(), details: vec![detail] };
    Status::with_details(code, message, told.encode_to_vec().into())
}

/// A code only where clients act on it. They show it before the text, and BuildKit has none for what is wrong with a build.
fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Cancelled | ErrorKind::NotImplemented | ErrorKind::Internal => {
            Code::from(wire(kind).grpc as i32)
        }
        _ => Code::Unknown,
    }
}

/// An error that a client told, as it is told on.
pub(super) fn told(told: &rpc::Status) -> Status {
    Status::with_details(Code::from(told.code), told.message.clone(), told.encode_to_vec().into())
}

/// A status as the error that a client is told in a message.
pub(super) fn to_message(status: &Status) -> rpc::Status {
    rpc::Status::decode(status.details()).ok().filter(|told| told.code != 0).unwrap_or_else(|| rpc::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

fn source(place: &WarningPlace) -> String {
    let position = |line: u32| json!({ "line": line });
    json!({
        "info": { "filename": place.file, "data": STANDARD.encode(place.text.as_bytes()), "language": LANGUAGE },
        "ranges": [{ "start": position(place.first), "end": position(place.last) }],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_build_is_shown_without_a_code() {
        let code = |kind| status(&Error::new(kind, "x")).code();
        for kind in [ErrorKind::InvalidInput, ErrorKind::NotFound, ErrorKind::Forbidden, ErrorKind::Build] {
            assert_eq!(code(kind), Code::Unknown, "{kind:?}");
        }
        assert_eq!(code(ErrorKind::Cancelled), Code::Cancelled);
        assert_eq!(code(ErrorKind::NotImplemented), Code::Unimplemented);
    }

    #[test]
    fn an_error_has_its_lines_with_it() {
        let mut error = Error::new(ErrorKind::Build, "step failed").with_hint("look");
        assert!(status(&error).details().is_empty());
        let (file, text) = ("Dockerfile".to_owned(), "FROM a\nRUN b\n".into());
        error.place = Some(Box::new(WarningPlace { file, text, first: 2, last: 2 }));
        let status = status(&error);
        assert_eq!((status.code(), status.message()), (Code::Unknown, "step failed\nlook"));
        let told = to_message(&status);
        assert_eq!((told.code, told.details[0].type_url.as_str()), (2, SOURCE));
        let value: serde_json::Value = serde_json::from_slice(&told.details[0].value).unwrap();
        assert_eq!(value["ranges"][0]["start"]["line"], 2);
        assert_eq!(value["info"]["data"], STANDARD.encode("FROM a\nRUN b\n"));
    }
}
