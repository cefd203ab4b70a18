//! `ONBUILD instruction`: stored as text, read again where it fires.

use super::{Line, Problem};
use crate::flags::split;

/// An instruction for images built from this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// Its text, with heredocs behind it as the image configuration keeps them.
    pub text: String,
}

/// The trigger is kept as it is written; what is wrong with it shows where it fires, and is a warning here.
pub(super) fn parse(line: &Line<'_>) -> Result<Onbuild, Problem> {
    // Flags that stand here belong to no instruction.
    let rest = line.only_argument()?;
    if let Some(problem) = forbidden_trigger(split(rest, line.escape).keyword) {
        return Err(problem);
    }
    let mut text = line.all.trim_start().to_owned();
    for heredoc in &line.heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    Ok(Onbuild { text })
}

/// Why an instruction cannot be a trigger.
pub(crate) fn forbidden_trigger(keyword: &str) -> Option<Problem> {
    match keyword.to_ascii_uppercase().as_str() {
        "ONBUILD" => Some(Problem::new("chaining ONBUILD via `ONBUILD ONBUILD` is not allowed")),
        known @ ("MAINTAINER" | "FROM") => {
            Some(Problem::new(format!("{known} is not allowed as an ONBUILD trigger")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Instruction;
    use crate::instruction::check;

    #[test]
    fn triggers_are_checked_and_kept_as_text() {
        let onbuild = Onbuild { text: "COPY --link . /app".to_owned() };
        assert_eq!(check("ONBUILD COPY --link . /app").unwrap(), Instruction::Onbuild(onbuild));
        let onbuild = Onbuild { text: "RUN a  ".to_owned() };
        assert_eq!(check("onbuild  RUN a  ").unwrap(), Instruction::Onbuild(onbuild));
        for bad in ["ONBUILD", "ONBUILD FROM a", "ONBUILD ONBUILD RUN x", "ONBUILD maintainer x"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
