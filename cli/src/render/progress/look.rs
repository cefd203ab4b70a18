//! What the user wants the terminal's view to look like: `NO_COLOR`, `BUILDKIT_COLORS`, `BUILDKIT_TTY_LOG_LINES`.

use crate::terminal;

/// Lines of output shown under a step that runs.
const TAIL: usize = 6;
/// The most of them.
const MAX_TAIL: usize = 200;
/// Names of colours in the order of their numbers.
const NAMES: [&str; 8] = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

/// How the view looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    /// The colours; none where there are to be none.
    pub(super) colours: Option<Colours>,
    /// Lines of output shown under a step that runs.
    pub(super) tail: usize,
}

/// Parameters of SGR sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Colours {
    /// Of steps that are over.
    pub(super) run: String,
    /// Of steps that were given up.
    pub(super) cancel: String,
    /// Of steps that failed.
    pub(super) error: String,
}

impl Look {
    /// As the environment says.
    pub(super) fn from_environment() -> Self {
        let variable = |name| std::env::var(name).unwrap_or_default();
        Look {
            colours: terminal::stderr_is_coloured().then(|| Colours::parse(&variable("BUILDKIT_COLORS"))),
            tail: tail(&variable("BUILDKIT_TTY_LOG_LINES")),
        }
    }

    /// `line` in a colour; the empty one is none.
    pub(super) fn paint(&self, colour: fn(&Colours) -> &str, line: &str) -> String {
        match self.colours.as_ref().map(colour).filter(|colour| !colour.is_empty()) {
            Some(colour) => format!("\x1b[{colour}m{line}\x1b[0m"),
            None => line.to_owned(),
        }
    }
}

fn tail(text: &str) -> usize {
    text.parse().ok().filter(|lines| *lines > 0).map_or(TAIL, |lines: usize| lines.min(MAX_TAIL))
}

impl Colours {
    /// `run=blue:error=light-red:cancel=255,200,0`; what is not understood leaves the usual colour.
    fn parse(text: &str) -> Self {
        let mut colours = Colours { run: "34".to_owned(), cancel: "33".to_owned(), error: "31".to_owned() };
        for (key, value) in text.split(':').filter_map(|field| field.split_once('=')) {
            let Some(colour) = colour(&value.to_ascii_lowercase()) else { continue };
            match key.to_ascii_lowercase().as_str() {
                "run" => colours.run = colour,
                "cancel" => colours.cancel = colour,
                "error" => colours.error = colour,
                _ => {}
            }
        }
        colours
    }
}

/// The parameters of a colour by its name or its red, green and blue.
fn colour(value: &str) -> Option<String> {
    if value == "default" {
        return Some("39".to_owned());
    }
    if value.contains(',') {
        let parts = value.split(',').map(|part| part.parse::<u8>().ok()).collect::<Option<Vec<u8>>>()?;
        let [red, green, blue] = parts[..] else { return None };
        return Some(format!("38;2;{red};{green};{blue}"));
    }
    let (name, first) = match value.strip_prefix("light-") {
        Some(name) => (name, 90),
        None => (value, 30),
    };
    NAMES.iter().position(|known| *known == name).map(|number| (first + number).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_by_name_and_by_number() {
        let colours =
            Colours::parse("run=light-cyan:ERROR=Magenta:cancel=1,20,255:warning=red:x=red:run=pink:run");
        let expected =
            Colours { run: "96".to_owned(), cancel: "38;2;1;20;255".to_owned(), error: "35".to_owned() };
        assert_eq!(colours, expected);
        assert_eq!(Colours::parse("run=1,2:error=256,0,0:cancel=default").cancel, "39");
        assert_eq!(Colours::parse("run=1,2").run, "34");
    }

    #[test]
    fn lines_of_output() {
        for (text, expected) in [("", 6), ("0", 6), ("x", 6), ("12", 12), ("100000", 200)] {
            assert_eq!(tail(text), expected, "{text}");
        }
    }
}
