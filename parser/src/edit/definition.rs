//! From a use to where it was set.

use std::ops::Range;

use super::Document;
use super::target::{Target, What, target};

/// Where the stage or the variable at an offset is declared.
pub fn definition(document: &Document, at: usize) -> Option<Range<usize>> {
    let Target { what, line, .. } = target(document, at)?;
    match what {
        What::Stage(index) => document.stage_bytes(index),
        What::Variable(name) => document.declaration(&name, document.variables(line).get(&name)?),
        What::Declaration(name) => document.declaration(&name, document.variables_after(line).get(&name)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::at_cursor;

    /// The line and the text that an offset leads to.
    fn goes_to(text: &str) -> Option<(usize, String)> {
        let (document, at) = at_cursor(text);
        let bytes = definition(&document, at)?;
        let line = document.text()[..bytes.start].matches('\n').count() + 1;
        Some((line, document.text()[bytes].to_owned()))
    }

    #[test]
    fn stages_lead_to_their_names() {
        let to = |line, text: &str| Some((line, text.to_owned()));
        let stages = "FROM x AS one\nFROM y\nFROM x \\\n  as One\nFROM z\n";
        assert_eq!(goes_to(&format!("{stages}COPY --from=o‸ne a b")), to(4, "One"));
        assert_eq!(goes_to(&format!("{stages}COPY --from=‸0 a b")), to(1, "one"));
        assert_eq!(goes_to(&format!("{stages}COPY --from=1‸ a b")), to(2, "y"));
        assert_eq!(goes_to(&format!("{stages}FROM on‸e")), to(4, "One"));
        assert_eq!(goes_to(&format!("{stages}COPY --from=3‸ a b")), None);
    }

    #[test]
    fn variables_lead_to_where_they_were_set_last() {
        let to = |line, text: &str| Some((line, text.to_owned()));
        let text = "ARG G=1\nFROM x\nARG G A=2\nENV \\\n  A=3 \\\n  B=4\nENV C c\n";
        assert_eq!(goes_to(&format!("{text}RUN $‸A")), to(5, "A"));
        assert_eq!(goes_to(&format!("{text}RUN ${{G‸}}")), to(3, "G"));
        assert_eq!(goes_to(&format!("{text}RUN $C‸")), to(7, "C"));
        assert_eq!(goes_to("ARG G=1\nFROM $‸G"), to(1, "G"));
        assert_eq!(goes_to("FROM x\nARG A‸A=1"), to(2, "AA"));
        assert_eq!(goes_to("FROM x\nRUN $‸A\nENV A=1"), None);
    }
}
