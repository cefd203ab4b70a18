//! JSON-RPC 2.0: requests, notifications, answers.

use serde_json::{Value, json};

/// Why a request has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// It is no JSON.
    ParseError = -32700,
    /// It is no message, or one that cannot come now.
    InvalidRequest = -32600,
    /// There is no such method.
    MethodNotFound = -32601,
    /// The parameters are not those of the method.
    InvalidParams = -32602,
    /// The answer cannot be written.
    InternalError = -32603,
    /// `initialize` has to come first.
    NotInitialized = -32002,
}

/// An error as the client gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: Code,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Failure { code, message: message.into() }
    }
}

/// What a client sent.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    /// Something that wants an answer.
    Request { id: Value, method: String, params: Value },
    /// Something that wants none.
    Notification { method: String, params: Value },
    /// An answer; we ask for nothing.
    Answer,
}

/// Reads a message; the error has its id, where it has one.
pub(super) fn parse(bytes: &[u8]) -> Result<Message, (Option<Value>, Failure)> {
    let mut value: Value = serde_json::from_slice(bytes)
        .map_err(|error| (None, Failure::new(Code::ParseError, format!("not JSON: {error}"))))?;
    let invalid = |id, why: &str| Err((id, Failure::new(Code::InvalidRequest, why)));
    let Some(object) = value.as_object_mut() else { return invalid(None, "a message is an object") };
    let id = object.remove("id").filter(|id| id.is_string() || id.is_number());
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return invalid(id, "a message has `\"jsonrpc\": \"2.0\"`");
    }
    let params = object.remove("params").unwrap_or_default();
    match (object.remove("method"), id) {
        (Some(Value::String(method)), Some(id)) => Ok(Message::Request { id, method, params }),
        (Some(Value::String(method)), None) => Ok(Message::Notification { method, params }),
        (None, Some(_)) if object.contains_key("result") || object.contains_key("error") => {
            Ok(Message::Answer)
        }
        (_, id) => invalid(id, "a message has a `method`"),
    }
}

/// The answer to a request.
pub(super) fn answer(id: Value, result: Result<Value, Failure>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(failure) => error(Some(id), &failure),
    }
}

/// The answer to something that failed; without an id where it had none.
pub(super) fn error(id: Option<Value>, failure: &Failure) -> Value {
    let error = json!({ "code": failure.code as i32, "message": failure.message });
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

/// Something that the client is told without having asked.
pub(super) fn notification(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_sorts() {
        let request = parse(br#"{"jsonrpc":"2.0","id":"a","method":"m","params":[1]}"#).unwrap();
        let method = "m".to_owned();
        assert_eq!(request, Message::Request { id: json!("a"), method: method.clone(), params: json!([1]) });
        let notification = parse(br#"{"jsonrpc":"2.0","method":"m"}"#).unwrap();
        assert_eq!(notification, Message::Notification { method, params: Value::Null });
        assert_eq!(parse(br#"{"jsonrpc":"2.0","id":1,"result":null}"#).unwrap(), Message::Answer);
    }

    #[test]
    fn what_is_wrong_is_said_to_whom_it_concerns() {
        let cases: [(&[u8], Option<Value>, Code); 7] = [
            (b"{", None, Code::ParseError),
            (b"\xff", None, Code::ParseError),
            (&[b'['; 100_000], None, Code::ParseError),
            (b"[]", None, Code::InvalidRequest),
            (br#"{"id":7,"method":"m"}"#, Some(json!(7)), Code::InvalidRequest),
            (br#"{"jsonrpc":"2.0","id":7,"method":1}"#, Some(json!(7)), Code::InvalidRequest),
            (br#"{"jsonrpc":"2.0","id":{},"params":1}"#, None, Code::InvalidRequest),
        ];
        for (bytes, id, code) in cases {
            let (found, failure) = parse(bytes).unwrap_err();
            assert_eq!((found, failure.code), (id, code));
        }
    }
}
