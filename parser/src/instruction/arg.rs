//! `ARG name[=default] …`.

use super::{Line, Problem};
use crate::words::raw_words;

/// Arguments that are declared: names, and defaults with quotes and escapes still inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// In order.
    pub arguments: Vec<(String, Option<String>)>,
}

/// Flags are taken and ignored, as BuildKit does; they are a warning.
pub(super) fn parse(line: &Line<'_>) -> Result<Arg, Problem> {
    let words = raw_words(line.argument()?, line.escape);
    let argument = |word: &str| {
        let (name, default) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        if name.is_empty() {
            return Err(Problem::new("ARG names can not be blank"));
        }
        Ok((name.to_owned(), default.map(str::to_owned)))
    };
    Ok(Arg { arguments: words.into_iter().map(argument).collect::<Result<_, _>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Instruction;
    use crate::instruction::check;

    #[test]
    fn several_a_line() {
        let Ok(Instruction::Arg(Arg { arguments })) = check("ARG --x a b=1 c=\"x y\"") else { panic!() };
        assert_eq!(arguments[0], ("a".to_owned(), None));
        assert_eq!(arguments[2], ("c".to_owned(), Some("\"x y\"".to_owned())));
        assert!(check("ARG").is_err() && check("ARG =x").is_err());
    }
}
