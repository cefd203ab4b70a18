//! A session: which messages may come when, and what answers them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::documents::{Documents, Open};
use super::message::{self, Code, Failure, Message};
use super::position::Encoding;
use super::protocol::{AtPosition, DidChange, DidOpen, InRange, Initialize, OfDocument};

/// How far a session is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// `initialize` has not come.
    #[default]
    New,
    Running,
    /// After `shutdown`.
    Stopped,
    /// After `exit`; whether `shutdown` came before.
    Ended(bool),
}

/// One session.
#[derive(Debug, Default)]
pub(super) struct Server {
    phase: Phase,
    documents: Documents,
}

impl Server {
    /// Once `exit` came, whether it came in order.
    pub(super) fn ended(&self) -> Option<bool> {
        match self.phase {
            Phase::Ended(in_order) => Some(in_order),
            _ => None,
        }
    }

    /// Handles a message; what is to be sent.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Vec<Value> {
        match message::parse(bytes) {
            Ok(Message::Request { id, method, params }) => {
                vec![message::answer(id, self.request(&method, params))]
            }
            Ok(Message::Notification { method, params }) => match self.notification(&method, params) {
                Ok(told) => told.into_iter().collect(),
                Err(failure) => vec![log(&format!("{method}: {}", failure.message))],
            },
            Ok(Message::Answer) => Vec::new(),
            Err((id, failure)) => vec![message::error(id, &failure)],
        }
    }

    fn request(&mut self, method: &str, params: Value) -> Result<Value, Failure> {
        match (self.phase, method) {
            (Phase::New, "initialize") => self.initialize(params),
            (Phase::New, _) => Err(Failure::new(Code::NotInitialized, "`initialize` comes first")),
            (Phase::Running, "initialize") => {
                Err(Failure::new(Code::InvalidRequest, "`initialize` comes once"))
            }
            (Phase::Running, "shutdown") => {
                self.phase = Phase::Stopped;
                Ok(Value::Null)
            }
            (Phase::Running, _) => self.language(method, params),
            _ => Err(Failure::new(Code::InvalidRequest, "only `exit` comes after `shutdown`")),
        }
    }

    fn initialize(&mut self, params: Value) -> Result<Value, Failure> {
        let params: Initialize = read(params)?;
        let offered = params.capabilities.general.and_then(|general| general.position_encodings);
        let utf8 = offered.is_some_and(|offered| offered.iter().any(|name| name == "utf-8"));
        self.documents.encoding = if utf8 { Encoding::Utf8 } else { Encoding::Utf16 };
        self.phase = Phase::Running;
        Ok(json!({
            "capabilities": {
                "positionEncoding": self.documents.encoding.name(),
                "textDocumentSync": { "openClose": true, "change": 2 },
                "hoverProvider": true,
                "completionProvider": { "triggerCharacters": ["-", "=", ",", "$", "{"] },
                "definitionProvider": true,
                "documentSymbolProvider": true,
                "documentFormattingProvider": true,
                "codeActionProvider": { "codeActionKinds": ["quickfix"] },
            },
            "serverInfo": { "name": "kiln", "version": env!("CARGO_PKG_VERSION") },
        }))
    }

    /// The requests about documents.
    fn language(&self, method: &str, params: Value) -> Result<Value, Failure> {
        match method {
            "textDocument/hover" => self.at(params, |open, at| open.hover(at.position)),
            "textDocument/completion" => self.at(params, |open, at| open.completions(at.position)),
            "textDocument/definition" => {
                self.at(params, |open, at| open.definition(&at.text_document.uri, at.position))
            }
            "textDocument/documentSymbol" => {
                let of: OfDocument = read(params)?;
                self.document(&of.text_document.uri).and_then(|open| write(open.symbols()))
            }
            "textDocument/formatting" => {
                let of: OfDocument = read(params)?;
                self.document(&of.text_document.uri).and_then(|open| write(open.format()))
            }
            "textDocument/codeAction" => {
                let within: InRange = read(params)?;
                let uri = &within.text_document.uri;
                self.document(uri).and_then(|open| write(open.actions(uri, within.range)))
            }
            _ => Err(Failure::new(Code::MethodNotFound, format!("there is no method `{method}`"))),
        }
    }

    /// Answers a request about a place.
    fn at<T: Serialize>(
        &self,
        params: Value,
        answer: impl FnOnce(&Open, &AtPosition) -> T,
    ) -> Result<Value, Failure> {
        let at: AtPosition = read(params)?;
        let open = self.document(&at.text_document.uri)?;
        write(answer(open, &at))
    }

    fn document(&self, uri: &str) -> Result<&Open, Failure> {
        self.documents
            .get(uri)
            .ok_or_else(|| Failure::new(Code::InvalidParams, format!("`{uri}` is not open")))
    }

    /// Takes a notification; what the client is told because of it. Those we do not know are no errors.
    fn notification(&mut self, method: &str, params: Value) -> Result<Option<Value>, Failure> {
        match (self.phase, method) {
            (phase, "exit") => self.phase = Phase::Ended(phase == Phase::Stopped),
            (Phase::Running, "textDocument/didOpen") => {
                let DidOpen { text_document: item } = read(params)?;
                self.documents.open(&item.uri, item.version, item.text).map_err(refused)?;
                return Ok(self.published(&item.uri));
            }
            (Phase::Running, "textDocument/didChange") => {
                let DidChange { text_document: of, content_changes } = read(params)?;
                self.documents.change(&of.uri, of.version, content_changes).map_err(refused)?;
                return Ok(self.published(&of.uri));
            }
            (Phase::Running, "textDocument/didClose") => {
                let OfDocument { text_document: of } = read(params)?;
                self.documents.close(&of.uri);
                let params = json!({ "uri": of.uri, "diagnostics": [] });
                return Ok(Some(message::notification("textDocument/publishDiagnostics", params)));
            }
            _ => {}
        }
        Ok(None)
    }

    /// The complaints about a document.
    fn published(&self, uri: &str) -> Option<Value> {
        let open = self.documents.get(uri)?;
        let params = json!({ "uri": uri, "version": open.version, "diagnostics": open.diagnostics() });
        Some(message::notification("textDocument/publishDiagnostics", params))
    }
}

fn read<T: DeserializeOwned>(params: Value) -> Result<T, Failure> {
    serde_json::from_value(params).map_err(|error| Failure::new(Code::InvalidParams, error.to_string()))
}

fn write(result: impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(result).map_err(|error| Failure::new(Code::InternalError, error.to_string()))
}

fn refused(why: String) -> Failure {
    Failure::new(Code::InvalidParams, why)
}

/// An error that no answer can carry.
fn log(message: &str) -> Value {
    message::notification("window/logMessage", json!({ "type": 1, "message": message }))
}
