//! `ENV name=value …`.

use super::key_value::{KeyValue, key_values};
use super::{Line, Problem};

/// Variables that are set, all seeing the environment before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env {
    /// In order.
    pub variables: Vec<KeyValue>,
}

pub(super) fn parse(line: &Line<'_>) -> Result<Env, Problem> {
    Ok(Env { variables: key_values(line)? })
}

#[cfg(test)]
mod tests {
    use crate::ast::Instruction;
    use crate::instruction::check;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let Ok(Instruction::Env(env)) = check(text) else { panic!("{text}") };
        env.variables.into_iter().map(|pair| (pair.key, pair.value)).collect()
    }

    #[test]
    fn item_18_words_and_the_older_form() {
        let owned = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(pairs(r#"ENV a="b c" d=e\ f"#), [owned("a", r#""b c""#), owned("d", r"e\ f")]);
        assert_eq!(pairs("ENV a  b = c"), [owned("a", "b = c")]);
        for bad in ["ENV", "ENV a", "ENV a=1 b", "ENV =1"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
