//! `kiln lsp` as an editor starts it: a process, asked over its standard streams by a small client.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::harness::Kiln;

const URI: &str = "file:///app/Dockerfile";

/// A client and its server.
struct Editor {
    server: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    requests: u64,
}

impl Editor {
    fn start(kiln: &Kiln) -> Self {
        let mut server = kiln
            .command(&["lsp", "--stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (server.stdin.take().unwrap(), BufReader::new(server.stdout.take().unwrap()));
        Editor { server, input, output, requests: 0 }
    }

    fn send(&mut self, body: &str) {
        write!(self.input, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        self.input.flush().unwrap();
    }

    fn receive(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the server ended its output");
            match line.trim_end().split_once(": ") {
                Some(("Content-Length", value)) => length = value.parse().unwrap(),
                _ => break,
            }
        }
        let mut body = vec![0; length];
        self.output.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    fn tell(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string());
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.requests += 1;
        let id = self.requests;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string());
        let mut answer = self.receive();
        assert_eq!(answer["id"], id, "{answer}");
        answer["result"].take()
    }

    /// Opens a document; the complaints about it.
    fn open(&mut self, text: &str) -> Value {
        let item = json!({ "uri": URI, "languageId": "dockerfile", "version": 1, "text": text });
        self.tell("textDocument/didOpen", json!({ "textDocument": item }));
        self.receive()["params"]["diagnostics"].take()
    }

    fn ask_at(&mut self, method: &str, line: u32, character: u32) -> Value {
        let position = json!({ "line": line, "character": character });
        self.ask(method, json!({ "textDocument": { "uri": URI }, "position": position }))
    }

    /// Ends the session; the server's exit code.
    fn quit(mut self) -> Option<i32> {
        assert_eq!(self.ask("shutdown", Value::Null), Value::Null);
        self.tell("exit", Value::Null);
        self.server.wait().unwrap().code()
    }
}

#[test]
fn a_session_from_initialize_to_exit() {
    let kiln = Kiln::new();
    let mut editor = Editor::start(&kiln);
    let offered = json!({ "capabilities": { "general": { "positionEncodings": ["utf-8"] } } });
    assert_eq!(editor.ask("initialize", offered)["capabilities"]["positionEncoding"], "utf-8");
    editor.tell("initialized", json!({}));

    let complaints = editor.open("ARG V=ä\nFROM busybox AS tools\nFROM busybox\nCOPPY --from=tools a b\n");
    assert_eq!(complaints[0]["range"]["start"], json!({ "line": 3, "character": 0 }));
    let range = json!({ "start": { "line": 3, "character": 0 }, "end": { "line": 3, "character": 5 } });
    let document = json!({ "uri": URI, "version": 2 });
    let changes = json!([{ "range": range, "text": "copy " }]);
    editor.tell("textDocument/didChange", json!({ "textDocument": document, "contentChanges": changes }));
    assert_eq!(
        editor.receive()["params"]["diagnostics"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|d| d["severity"] == 1)
            .count(),
        0
    );

    let hover = editor.ask_at("textDocument/hover", 3, 8);
    assert!(hover["contents"]["value"].as_str().unwrap().contains("--from"), "{hover}");
    let completions = editor.ask_at("textDocument/completion", 3, 13);
    assert_eq!(completions[0]["label"], "tools");
    let definition = editor.ask_at("textDocument/definition", 3, 15);
    assert_eq!(definition["range"]["start"], json!({ "line": 1, "character": 16 }));
    let of = json!({ "textDocument": { "uri": URI } });
    assert_eq!(editor.ask("textDocument/documentSymbol", of.clone())[1]["name"], "tools");
    assert_eq!(editor.ask("textDocument/formatting", of)[0]["newText"], "COPY --from=tools a b\n");
    assert_eq!(editor.quit(), Some(0));
}

#[test]
fn malformed_messages_are_answered() {
    let kiln = Kiln::new();
    let mut editor = Editor::start(&kiln);
    for (body, code) in
        [("{\"jsonrpc\":", -32700), ("[]", -32600), ("{\"jsonrpc\":\"2.0\",\"id\":1}", -32600)]
    {
        editor.send(body);
        assert_eq!(editor.receive()["error"]["code"], code, "{body}");
    }
    editor.ask("initialize", json!({}));
    assert_eq!(editor.quit(), Some(0));

    let mut editor = Editor::start(&kiln);
    editor.input.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(editor.receive()["error"]["code"], -32700);
    assert_eq!(editor.server.wait().unwrap().code(), Some(1));
}
