//! `MAINTAINER`, `USER` and `WORKDIR`: the rest of the line is the one argument.

use super::{Line, Problem};

pub(super) fn parse(line: &Line<'_>) -> Result<String, Problem> {
    line.only_argument().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use crate::ast::Instruction;
    use crate::instruction::check;

    #[test]
    fn item_17_inner_spaces_stay() {
        assert_eq!(check("user  a  b ").unwrap(), Instruction::User("a  b".to_owned()));
        assert_eq!(check("WORKDIR"), Err("WORKDIR requires at least one argument".to_owned()));
        assert_eq!(check("WORKDIR --x /a"), Err("unknown flag `--x`".to_owned()));
    }
}
