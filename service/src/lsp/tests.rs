//! Sessions as a client has them, over streams in memory.

use serde_json::{Value, json};

use super::*;

const URI: &str = "file:///app/Dockerfile";

/// What a client gets for its messages, and how the session ends.
fn talk(messages: &[Value]) -> (Vec<Value>, Result<(), SessionError>) {
    let mut input = Vec::new();
    messages.iter().for_each(|message| frame::write(&mut input, message).unwrap());
    let mut output = Vec::new();
    let end = serve(&mut input.as_slice(), &mut output);
    let mut output = output.as_slice();
    let mut answers = Vec::new();
    while let Frame::Message(bytes) = frame::read(&mut output).unwrap() {
        answers.push(serde_json::from_slice(&bytes).unwrap());
    }
    (answers, end)
}

fn request(id: u32, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn tell(method: &str, params: Value) -> Value {
    message::notification(method, params)
}

fn open(text: &str) -> Value {
    let item = json!({ "uri": URI, "languageId": "dockerfile", "version": 1, "text": text });
    tell("textDocument/didOpen", json!({ "textDocument": item }))
}

fn at(line: u32, character: u32) -> Value {
    let position = json!({ "line": line, "character": character });
    json!({ "textDocument": { "uri": URI }, "position": position })
}

/// The answers of a session about `text`, without that to `initialize`.
fn about(text: &str, client: Value, messages: &[Value]) -> Vec<Value> {
    let mut all = vec![request(0, "initialize", client), tell("initialized", json!({})), open(text)];
    all.extend_from_slice(messages);
    all.extend([request(99, "shutdown", Value::Null), tell("exit", Value::Null)]);
    let (mut answers, end) = talk(&all);
    end.unwrap();
    answers.remove(0);
    assert_eq!(answers.pop().unwrap()["id"], 99);
    answers
}

#[test]
fn what_it_can_do_is_said_first() {
    let utf8 = json!({ "capabilities": { "general": { "positionEncodings": ["utf-8", "utf-16"] } } });
    for (client, encoding) in [(json!({}), "utf-16"), (utf8, "utf-8")] {
        let (answers, _) = talk(&[request(1, "initialize", client)]);
        assert_eq!(answers[0]["result"]["capabilities"]["positionEncoding"], encoding);
        assert_eq!(answers[0]["result"]["serverInfo"]["name"], "kiln");
    }
}

#[test]
fn complaints_follow_the_text() {
    let range = json!({ "start": { "line": 1, "character": 3 }, "end": { "line": 1, "character": 4 } });
    let change = |version, changes: Value| {
        let document = json!({ "uri": URI, "version": version });
        tell("textDocument/didChange", json!({ "textDocument": document, "contentChanges": changes }))
    };
    let told = about(
        "FROM x\nRUNN ä\n",
        json!({}),
        &[
            change(2, json!([{ "range": range, "text": "" }])),
            change(3, json!([{ "text": "FROM x\nRUN \\\n\n a\n" }])),
            tell("textDocument/didClose", json!({ "textDocument": { "uri": URI } })),
        ],
    );
    let found = |n: usize| told[n]["params"]["diagnostics"].as_array().unwrap();
    assert_eq!(told[0]["method"], "textDocument/publishDiagnostics");
    assert_eq!((found(0).len(), found(1).len(), found(2).len(), found(3).len()), (1, 0, 1, 0));
    let end = json!({ "line": 1, "character": 4 });
    assert_eq!((&found(0)[0]["range"]["end"], &found(0)[0]["severity"]), (&end, &json!(1)));
    assert!(found(0)[0]["message"].as_str().unwrap().ends_with("hint: did you mean `RUN`?"));
    assert_eq!((&found(2)[0]["code"], &found(2)[0]["severity"]), (&json!("NoEmptyContinuation"), &json!(2)));
    let page = found(2)[0]["codeDescription"]["href"].as_str().unwrap();
    assert!(page.ends_with("/no-empty-continuation/"), "{page}");
    assert_eq!((&told[1]["params"]["version"], told.len()), (&json!(2), 4));
}

#[test]
fn questions_are_answered() {
    let text = "ARG V=ä\nFROM x AS one\nFROM y\ncopy --from=one a b\n";
    let range = json!({ "start": { "line": 3, "character": 0 }, "end": { "line": 3, "character": 0 } });
    let of = json!({ "textDocument": { "uri": URI }, "options": { "tabSize": 4, "insertSpaces": true } });
    let answers = about(
        text,
        json!({}),
        &[
            request(1, "textDocument/hover", at(3, 8)),
            request(2, "textDocument/hover", at(3, 16)),
            request(3, "textDocument/completion", at(3, 13)),
            request(4, "textDocument/definition", at(3, 13)),
            request(5, "textDocument/documentSymbol", of.clone()),
            request(6, "textDocument/formatting", of.clone()),
            request(
                7,
                "textDocument/codeAction",
                json!({ "textDocument": { "uri": URI }, "range": range, "context": { "diagnostics": [] } }),
            ),
        ],
    );
    let result = |id: usize| &answers[id]["result"];
    assert_eq!(result(1)["range"]["start"], json!({ "line": 3, "character": 5 }));
    assert_eq!(result(2), &Value::Null);
    assert_eq!(result(3)[0]["textEdit"]["newText"], "one");
    assert_eq!(result(4)["range"]["start"], json!({ "line": 1, "character": 10 }));
    assert_eq!(result(5)[1]["name"], "one");
    assert_eq!(result(6)[0]["newText"], "COPY --from=one a b\n");
    assert!(result(7).is_array());
}

#[test]
fn a_fix_is_an_edit_of_the_document() {
    let range = json!({ "start": { "line": 1, "character": 0 }, "end": { "line": 1, "character": 0 } });
    let params = json!({ "textDocument": { "uri": URI }, "range": range, "context": { "diagnostics": [] } });
    let answers = about("FROM x\nRUNN ä\n", json!({}), &[request(1, "textDocument/codeAction", params)]);
    let action = &answers[1]["result"][0];
    assert_eq!(action["edit"]["changes"][URI][0]["newText"], "RUN");
    assert_eq!(action["diagnostics"][0], answers[0]["params"]["diagnostics"][0]);
}

#[test]
fn a_file_with_errors_is_not_formatted() {
    let of = json!({ "textDocument": { "uri": URI } });
    let answers = about("FROM x\nRUNN a\n", json!({}), &[request(1, "textDocument/formatting", of)]);
    assert_eq!(answers[1]["result"], Value::Null);
}

#[test]
fn what_is_wrong_is_answered_with_an_error() {
    let answers = about(
        "FROM x\n",
        json!({}),
        &[
            request(1, "textDocument/hover", json!([1])),
            request(
                2,
                "textDocument/hover",
                json!({ "textDocument": { "uri": "file:///else" }, "position": { "line": 0, "character": 0 } }),
            ),
            request(3, "textDocument/teleport", json!({})),
            request(4, "initialize", json!({})),
            json!({ "jsonrpc": "1.0", "id": 5, "method": "x" }),
            json!([]),
            tell("textDocument/didOpen", json!({ "textDocument": 1 })),
            tell("$/cancelRequest", json!({ "id": 1 })),
            json!({ "jsonrpc": "2.0", "id": 6, "result": null }),
        ],
    );
    let codes: Vec<_> = answers[1..].iter().map(|answer| answer["error"]["code"].as_i64()).collect();
    let expected = [-32602, -32602, -32601, -32600, -32600, -32600].map(Some);
    assert_eq!(codes[..6], expected);
    assert_eq!((&answers[7]["method"], answers.len()), (&json!("window/logMessage"), 8));
}

#[test]
fn a_session_has_an_order() {
    let (answers, end) = talk(&[request(1, "shutdown", Value::Null)]);
    assert_eq!(answers[0]["error"]["code"], -32002);
    assert!(matches!(end, Err(SessionError::Gone)));
    let (_, end) = talk(&[request(1, "initialize", json!({})), tell("exit", Value::Null)]);
    assert!(matches!(end, Err(SessionError::Gone)));
    let stopped = [request(1, "initialize", json!({})), request(2, "shutdown", Value::Null), open("FROM x")];
    let (answers, _) = talk(&[&stopped[..], &[request(3, "textDocument/hover", at(0, 0))]].concat());
    assert_eq!((answers.len(), &answers[2]["error"]["code"]), (3, &json!(-32600)));
}

#[test]
fn a_stream_without_messages_ends_the_session() {
    let mut output = Vec::new();
    let end = serve(&mut "GET / HTTP/1.1\r\n\r\n".as_bytes(), &mut output);
    assert!(matches!(end, Err(SessionError::Frame(_))));
    assert!(String::from_utf8(output).unwrap().contains("-32700"));
}
