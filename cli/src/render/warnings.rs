//! The warnings of a build, below its progress, as `docker buildx` prints them.

use kiln_engine::build::excerpt;
use kiln_engine::oci::Digest;
use kiln_engine::progress::Warning;
use serde_json::{Value, json};

use crate::text;
use kiln_service::calls::source::{base64, ranges};

/// `N warnings found`, one line each; `expanded` adds the reason, a page, the lines and what to do.
pub(crate) fn summary(warnings: &[Warning], expanded: bool, coloured: bool) -> String {
    let count = match warnings.len() {
        0 => return String::new(),
        1 => "1 warning".to_owned(),
        count => format!("{count} warnings"),
    };
    let (on, off) = if coloured { ("\x1b[33m", "\x1b[0m") } else { ("", "") };
    let how = if expanded { "" } else { " (use --debug to expand)" };
    let mut out = format!("\n {on}{count} found{how}:{off}\n");
    for warning in warnings {
        out.push_str(&format!(" - {}\n", line(&warning.short)));
        if expanded {
            out.push_str(&details(warning));
        }
    }
    out
}

fn details(warning: &Warning) -> String {
    let mut out = String::new();
    if let Some(detail) = &warning.detail {
        out.push_str(&format!("{}\n", line(detail)));
    }
    if let Some(url) = &warning.url {
        out.push_str(&format!("More info: {}\n", line(url)));
    }
    if let Some(place) = &warning.place {
        out.push_str(&text::neutral(&excerpt(place)));
    }
    if let Some(hint) = &warning.hint {
        out.push_str(&format!("hint: {}\n", line(hint)));
    }
    out.push('\n');
    out
}

/// A text on one line, harmless for a terminal.
fn line(text: &str) -> String {
    text::neutral(text).replace('\n', " ")
}

/// One warning as BuildKit's `VertexWarning`, of a step where it is one's.
pub(crate) fn vertex_warning(vertex: Option<&Digest>, warning: &Warning) -> Value {
    let mut value = json!({ "level": 1, "short": base64(warning.short.as_bytes()) });
    if let Some(vertex) = vertex {
        value["vertex"] = json!(vertex);
    }
    if let Some(detail) = &warning.detail {
        value["detail"] = json!([base64(detail.as_bytes())]);
    }
    if let Some(url) = &warning.url {
        value["url"] = json!(url);
    }
    if let Some(place) = &warning.place {
        let data = base64(place.text.as_bytes());
        value["sourceInfo"] = json!({ "filename": place.file, "data": data, "language": "Dockerfile" });
        value["range"] = json!(ranges(place.first, place.last));
    }
    value
}

#[cfg(test)]
mod tests {
    use kiln_engine::progress::WarningPlace;

    use super::*;

    fn warning() -> Warning {
        Warning {
            short: "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)".to_owned(),
            detail: Some("The 'as' keyword should match the case of the 'from' keyword".to_owned()),
            hint: Some("write `FROM … AS …`".to_owned()),
            url: Some("https://example.org/from-as-casing/".to_owned()),
            place: Some(WarningPlace {
                file: "Dockerfile".to_owned(),
                text: "FROM x as y\n".into(),
                first: 1,
                last: 1,
            }),
        }
    }

    #[test]
    fn one_line_each() {
        assert_eq!(summary(&[], false, false), "");
        let expected = "\n 2 warnings found (use --debug to expand):\n \
                        - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)\n - x\\x1b[2J y\n";
        let other = Warning { short: "x\x1b[2J\ny".to_owned(), ..Warning::default() };
        assert_eq!(summary(&[warning(), other], false, false), expected);
    }

    #[test]
    fn the_expanded_form_has_the_lines() {
        let expected = "
 1 warning found:
 - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)
The 'as' keyword should match the case of the 'from' keyword
More info: https://example.org/from-as-casing/
Dockerfile:1
--------------------
   1 | >>> FROM x as y
   2 |     \n--------------------
hint: write `FROM … AS …`

";
        assert_eq!(summary(&[warning()], true, false), expected);
    }
}
