//! `--call=METHOD[,format=json][,ignorestatus=true]`: what is asked about a build instead of building.

use kiln_engine::Result;

use super::wrong;

/// What is wanted of a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// An image.
    Build,
    /// What build checks find.
    Check,
    /// The parameters of the target.
    Outline,
    /// The stages.
    Targets,
}

/// A method and how its answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) json: bool,
    /// The exit code is 0 whatever is found.
    pub(crate) ignore_status: bool,
}

/// Reads a `--call`.
pub(crate) fn parse(text: &str) -> Result<Call> {
    let mut call = Call { method: Method::Build, json: false, ignore_status: false };
    let mut method = None;
    for part in text.split(',').map(str::trim) {
        match part.split_once('=') {
            None if method.is_some() => return wrong("--call", text, "it names two methods"),
            None => method = Some(part),
            Some(("format", "json")) => call.json = true,
            Some(("format", "text" | "")) => call.json = false,
            Some(("format", _)) => return wrong("--call", text, "the format is `text` or `json`"),
            Some(("ignorestatus", "true" | "1")) => call.ignore_status = true,
            Some(("ignorestatus", "false" | "0")) => call.ignore_status = false,
            Some(_) => return wrong("--call", text, format!("`{part}` is no option of it")),
        }
    }
    call.method = match method.unwrap_or_default() {
        "build" => Method::Build,
        "check" | "lint" => Method::Check,
        "outline" => Method::Outline,
        "targets" => Method::Targets,
        _ => return wrong("--call", text, "the method is `build`, `check`, `outline` or `targets`"),
    };
    Ok(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_options() {
        let call = parse("check,format=json,ignorestatus=true").unwrap();
        assert_eq!(call, Call { method: Method::Check, json: true, ignore_status: true });
        assert_eq!(parse("format=json,outline").unwrap().method, Method::Outline);
        for bad in ["", "nope", "check,outline", "check,format=yaml", "check,x=y", "format=json"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
