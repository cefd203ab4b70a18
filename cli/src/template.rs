//! `--format`: the part of Go's templates that people use on containers and images.
//!
//! `{{.A.B}}`, `{{json .A}}`, `{{.A | json}}`, `{{index .A "key"}}`, `{{join .A ", "}}`, `{{upper .A}}`, `{{lower .A}}`,
//! `{{len .A}}`, `{{range .A}}…{{end}}`, `{{if .A}}…{{else}}…{{end}}`.

use kiln_engine::{Error, Result};
use serde_json::Value;

/// Blocks inside each other at most.
const MAX_DEPTH: usize = 16;

/// A template, read.
#[derive(Debug)]
pub(crate) struct Template(Vec<Node>);

#[derive(Debug)]
enum Node {
    Text(String),
    Print(Pipe),
    Range { over: Pipe, body: Vec<Node>, otherwise: Vec<Node> },
    If { condition: Pipe, body: Vec<Node>, otherwise: Vec<Node> },
}

/// Calls, each with the result of the one before as its last argument.
type Pipe = Vec<Call>;

#[derive(Debug)]
enum Call {
    Value(Operand),
    Function(Function, Vec<Operand>),
}

#[derive(Debug, Clone)]
enum Operand {
    Path(Vec<String>),
    Literal(Value),
}

#[derive(Debug, Clone, Copy)]
enum Function {
    Json,
    Index,
    Join,
    Upper,
    Lower,
    Len,
    Println,
}

impl Template {
    /// Reads a template; `\t` and `\n` are a tab and a line feed.
    pub(crate) fn parse(text: &str) -> Result<Template> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut tokens = tokens(&text)?.into_iter();
        let (nodes, end) = block(&mut tokens, 0)?;
        match end {
            None => Ok(Template(nodes)),
            Some(word) => Err(wrong(format!("`{{{{{word}}}}}` without a beginning"))),
        }
    }

    /// The template filled with `value`.
    pub(crate) fn fill(&self, value: &Value) -> Result<String> {
        let mut out = String::new();
        print(&self.0, value, &mut out)?;
        Ok(out)
    }

    /// The first names of the paths printed outside of blocks, for titles of a table.
    pub(crate) fn titles(&self) -> String {
        let title = |node: &Node| match node {
            Node::Text(text) => text.clone(),
            Node::Print(pipe) => pipe.iter().find_map(path_title).unwrap_or_default(),
            _ => String::new(),
        };
        self.0.iter().map(title).collect()
    }
}

fn path_title(call: &Call) -> Option<String> {
    let operands = match call {
        Call::Value(operand) => std::slice::from_ref(operand),
        Call::Function(_, operands) => operands,
    };
    operands.iter().find_map(|operand| match operand {
        Operand::Path(path) => path.last().map(|name| name.to_uppercase()),
        Operand::Literal(_) => None,
    })
}

fn wrong(why: impl Into<String>) -> Error {
    Error::invalid(format!("`--format`: {}", why.into()))
        .with_hint("a template is text with fields in it, such as `{{.ID}} {{json .State}}`")
}

enum Token {
    Text(String),
    Action(String),
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((action, after)) = after.split_once("}}") else { return Err(wrong("`{{` without `}}`")) };
        let (before, action) = trim_left(before, action);
        tokens.push(Token::Text(before.to_owned()));
        let (action, after) = trim_right(action, after);
        tokens.push(Token::Action(action.trim().to_owned()));
        rest = after;
    }
    tokens.push(Token::Text(rest.to_owned()));
    Ok(tokens)
}

fn trim_left<'a>(before: &'a str, action: &'a str) -> (&'a str, &'a str) {
    match action.strip_prefix("- ") {
        Some(action) => (before.trim_end(), action),
        None => (before, action),
    }
}

fn trim_right<'a>(action: &'a str, after: &'a str) -> (&'a str, &'a str) {
    match action.strip_suffix(" -") {
        Some(action) => (action, after.trim_start()),
        None => (action, after),
    }
}

/// Nodes up to the end of a block; gives the word that ended it, `end` or `else`.
fn block(tokens: &mut std::vec::IntoIter<Token>, depth: usize) -> Result<(Vec<Node>, Option<String>)> {
    if depth > MAX_DEPTH {
        return Err(wrong("too many blocks inside each other"));
    }
    let mut nodes = Vec::new();
    while let Some(token) = tokens.next() {
        let action = match token {
            Token::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Token::Action(action) => action,
        };
        let (word, argument) = action.split_once(char::is_whitespace).unwrap_or((&action, ""));
        match word {
            "end" | "else" => return Ok((nodes, Some(word.to_owned()))),
            "range" => {
                let over = pipe(argument)?;
                let (body, otherwise) = both_bodies(tokens, depth)?;
                nodes.push(Node::Range { over, body, otherwise });
            }
            "if" => {
                let condition = pipe(argument)?;
                let (body, otherwise) = both_bodies(tokens, depth)?;
                nodes.push(Node::If { condition, body, otherwise });
            }
            _ => nodes.push(Node::Print(pipe(&action)?)),
        }
    }
    Ok((nodes, None))
}

fn both_bodies(tokens: &mut std::vec::IntoIter<Token>, depth: usize) -> Result<(Vec<Node>, Vec<Node>)> {
    let (body, end) = block(tokens, depth + 1)?;
    let (otherwise, end) = match end.as_deref() {
        Some("else") => block(tokens, depth + 1)?,
        _ => (Vec::new(), end),
    };
    match end.as_deref() {
        Some("end") => Ok((body, otherwise)),
        _ => Err(wrong("a block without `{{end}}`")),
    }
}

fn pipe(text: &str) -> Result<Pipe> {
    let mut calls: Vec<Vec<String>> = vec![Vec::new()];
    for word in words(text)? {
        match word.as_str() {
            "|" => calls.push(Vec::new()),
            _ => calls.last_mut().expect("there is always one").push(word),
        }
    }
    calls.iter().map(|words| call(words)).collect()
}

fn call(words: &[String]) -> Result<Call> {
    let Some((first, rest)) = words.split_first() else { return Err(wrong("an empty `{{}}`")) };
    let function = match first.as_str() {
        "json" => Function::Json,
        "index" => Function::Index,
        "join" => Function::Join,
        "upper" => Function::Upper,
        "lower" => Function::Lower,
        "len" => Function::Len,
        "println" => Function::Println,
        _ if rest.is_empty() => return operand(first).map(Call::Value),
        other => return Err(wrong(format!("there is no function `{other}`"))),
    };
    Ok(Call::Function(function, rest.iter().map(|word| operand(word)).collect::<Result<_>>()?))
}

fn operand(word: &str) -> Result<Operand> {
    if let Some(path) = word.strip_prefix('.').or_else(|| word.strip_prefix("$.")) {
        return Ok(Operand::Path(
            path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        ));
    }
    match serde_json::from_str(word) {
        Ok(literal) => Ok(Operand::Literal(literal)),
        Err(_) => Err(wrong(format!("`{word}` is not understood"))
            .with_hint(format!("did you mean `{{{{.{}}}}}`?", word.trim_matches('"')))),
    }
}

/// Words at spaces; a quoted string is one word with its quotes, parentheses are left out.
fn words(text: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.push(c);
            }
            c if quoted => word.push(c),
            '|' => {
                words.push(std::mem::take(&mut word));
                words.push("|".to_owned());
            }
            c if c.is_whitespace() || c == '(' || c == ')' => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    if quoted {
        return Err(wrong("a `\"` without its end"));
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    Ok(words)
}

fn print(nodes: &[Node], value: &Value, out: &mut String) -> Result<()> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(pipe) => out.push_str(&shown(&run(pipe, value)?)),
            Node::If { condition, body, otherwise } => {
                let body = if truthy(&run(condition, value)?) { body } else { otherwise };
                print(body, value, out)?;
            }
            Node::Range { over, body, otherwise } => range(&run(over, value)?, body, otherwise, value, out)?,
        }
    }
    Ok(())
}

fn range(over: &Value, body: &[Node], otherwise: &[Node], outer: &Value, out: &mut String) -> Result<()> {
    let items: Vec<&Value> = match over {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    };
    if items.is_empty() {
        return print(otherwise, outer, out);
    }
    items.into_iter().try_for_each(|item| print(body, item, out))
}

fn run(pipe: &Pipe, value: &Value) -> Result<Value> {
    let mut last: Option<Value> = None;
    for call in pipe {
        let result = match call {
            Call::Value(operand) => look_up(operand, value)?,
            Call::Function(function, operands) => {
                let mut arguments: Vec<Value> =
                    operands.iter().map(|operand| look_up(operand, value)).collect::<Result<_>>()?;
                arguments.extend(last.take());
                apply(*function, &arguments)?
            }
        };
        last = Some(result);
    }
    Ok(last.unwrap_or(Value::Null))
}

fn apply(function: Function, arguments: &[Value]) -> Result<Value> {
    let Some(first) = arguments.first() else { return Err(wrong("a function without an argument")) };
    let text = match function {
        Function::Json => first.to_string(),
        Function::Upper => shown(first).to_uppercase(),
        Function::Lower => shown(first).to_lowercase(),
        Function::Println => format!("{}\n", shown(first)),
        Function::Len => length(first).to_string(),
        Function::Join => {
            let items: Vec<String> = first.as_array().into_iter().flatten().map(shown).collect();
            items.join(&arguments.get(1).map(shown).unwrap_or_default())
        }
        Function::Index => return Ok(index(first, &arguments[1..])),
    };
    Ok(Value::String(text))
}

fn length(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        other => shown(other).len(),
    }
}

fn index(value: &Value, keys: &[Value]) -> Value {
    let step = |value: Value, key: &Value| match key {
        Value::String(key) => value.get(key).cloned().unwrap_or(Value::Null),
        key => key.as_u64().and_then(|at| value.get(at as usize).cloned()).unwrap_or(Value::Null),
    };
    keys.iter().fold(value.clone(), step)
}

fn look_up(operand: &Operand, value: &Value) -> Result<Value> {
    let path = match operand {
        Operand::Literal(literal) => return Ok(literal.clone()),
        Operand::Path(path) => path,
    };
    let mut at = value;
    for name in path {
        at = match field(at, name) {
            Some(found) => found,
            None => return missing(at, name),
        };
    }
    Ok(at.clone())
}

/// The field called `name`, whatever the case of its letters.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let map = value.as_object()?;
    map.get(name)
        .or_else(|| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// A key that is not there is no value; a field that does not exist, and is like one that does, is a mistake.
fn missing(at: &Value, name: &str) -> Result<Value> {
    let Some(map) = at.as_object() else { return Ok(Value::Null) };
    let likeness = |key: &String| strsim::jaro_winkler(key, name);
    let nearest = map.keys().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        Some(key) if likeness(key) > 0.85 => {
            Err(wrong(format!("there is no field `{name}`")).with_hint(format!("did you mean `{key}`?")))
        }
        _ => Ok(Value::Null),
    }
}

fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as Go prints it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", shown(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container() -> Value {
        json!({
            "ID": "abc", "State": { "Status": "running", "Pid": 7, "Running": true },
            "Config": { "Cmd": ["a", "b"], "Labels": { "x.y": "z" }, "User": "" },
            "Networks": { "bridge": { "IPAddress": "10.0.0.2" } },
        })
    }

    #[test]
    fn what_people_write() {
        let cases = [
            ("{{.ID}}", "abc"),
            ("{{.Id}}", "abc"),
            ("{{ .State.Status }} {{.State.Pid}}", "running 7"),
            ("{{json .Config.Cmd}}", r#"["a","b"]"#),
            ("{{.Config.Cmd | json}}", r#"["a","b"]"#),
            ("{{json .State.Status}}", r#""running""#),
            ("{{.Config.Cmd}}", "[a b]"),
            ("{{.Config.Labels}}", "map[x.y:z]"),
            ("{{index .Config.Labels \"x.y\"}}", "z"),
            ("{{index .Config.Cmd 1}}", "b"),
            ("{{join .Config.Cmd \", \"}}", "a, b"),
            ("{{upper .ID}}-{{.ID | lower}}", "ABC-abc"),
            ("{{len .Config.Cmd}}", "2"),
            ("{{range .Networks}}{{.IPAddress}}{{end}}", "10.0.0.2"),
            ("{{range .Config.Cmd}}<{{.}}>{{end}}", "<a><b>"),
            ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
            ("{{if .Config.User}}{{.Config.User}}{{else}}root{{end}}", "root"),
            ("a\\t{{.ID}}\\n", "a\tabc\n"),
            ("{{.Config.Nothing}}", "<no value>"),
            ("x {{- .ID -}} y", "xabcy"),
        ];
        for (template, expected) in cases {
            let filled = Template::parse(template).unwrap().fill(&container()).unwrap();
            assert_eq!(filled, expected, "{template}");
        }
    }

    #[test]
    fn mistakes_are_errors_with_a_hint() {
        let error = Template::parse("{{.State.Statu}}").unwrap().fill(&container()).unwrap_err();
        assert_eq!(error.message, "`--format`: there is no field `Statu`");
        assert_eq!(error.hint.as_deref(), Some("did you mean `Status`?"));
        for bad in [
            "{{",
            "{{}}",
            "{{end}}",
            "{{if .A}}",
            "{{range .A}}{{else}}",
            "{{foo .A}}",
            "{{Names}}",
            "{{\"}}",
        ] {
            assert!(Template::parse(bad).is_err(), "`{bad}` was accepted");
        }
        assert!(Template::parse(&"{{if .A}}".repeat(100_000)).is_err());
    }

    #[test]
    fn titles_are_the_fields_names() {
        assert_eq!(Template::parse("{{.Names}}\\t{{json .State.Status}}").unwrap().titles(), "NAMES\tSTATUS");
    }
}
