//! `--chmod`: octal and symbolic permissions.

use std::fmt;

const ALL: u32 = 0o7777;

/// Permissions as `chmod` takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChmodSpec {
    /// Exactly these bits, at most 07777.
    Octal(u32),
    /// A change to the bits that are there.
    Symbolic(Clauses),
}

/// A comma-separated list of symbolic changes, for example `u=rwX,go-w`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clauses {
    text: String,
    changes: Vec<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    /// Which of user, group and others, as bits 4, 2, 1.
    who: u8,
    operator: Operator,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// `r`, `w`, `x` as bits 4, 2, 1; then `X`, `s` and `t`.
    Letters { bits: u8, conditional_x: bool, set_id: bool, sticky: bool },
    /// The permissions of another class, named by its bit.
    Of(u8),
}

/// Why a text is no permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChmodError {
    /// It starts like a number.
    #[error("invalid chmod parameter: `{0}`: it should be octal and between 0 and 07777")]
    Octal(String),
    /// It is no symbolic mode either.
    #[error("invalid chmod parameter: `{0}`: it should be an octal number or like `u=rwX,go-w`")]
    Symbolic(String),
}

impl ChmodSpec {
    /// Reads an octal number or symbolic changes.
    pub fn parse(text: &str) -> Result<Self, ChmodError> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let octal = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= ALL);
            return octal.map(ChmodSpec::Octal).ok_or_else(|| ChmodError::Octal(text.to_owned()));
        }
        let changes = text.split(',').map(clause).collect::<Option<Vec<_>>>();
        let changes = changes.ok_or_else(|| ChmodError::Symbolic(text.to_owned()))?.concat();
        Ok(ChmodSpec::Symbolic(Clauses { text: text.to_owned(), changes }))
    }

    /// The permission bits that a file with `mode` gets. Higher bits of `mode` (the file type) are left out.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            ChmodSpec::Octal(mode) => *mode,
            ChmodSpec::Symbolic(clauses) => {
                let original = mode & ALL;
                clauses.changes.iter().fold(original, |mode, change| change.apply(mode, original, is_dir))
            }
        }
    }
}

impl Change {
    /// `X` asks for the bits that were there at first, as BuildKit has it, and not for those of an earlier change.
    fn apply(self, mode: u32, original: u32, is_dir: bool) -> u32 {
        let bits = match self.what {
            What::Of(class) => spread((mode >> shift(class)) as u8 & 7, self.who),
            What::Letters { bits, conditional_x, set_id, sticky } => {
                let x = u8::from(conditional_x && (is_dir || original & 0o111 != 0));
                spread(bits | x, self.who) | special(self.who, set_id, sticky)
            }
        };
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => mode & !(spread(7, self.who) | special(self.who, true, self.who == 7)) | bits,
        }
    }
}

/// Puts `rwx` bits at each class of `who`.
fn spread(bits: u8, who: u8) -> u32 {
    [4, 2, 1].into_iter().filter(|class| who & class != 0).map(|class| u32::from(bits) << shift(class)).sum()
}

fn shift(class: u8) -> u32 {
    match class {
        4 => 6,
        2 => 3,
        _ => 0,
    }
}

fn special(who: u8, set_id: bool, sticky: bool) -> u32 {
    let bit = |condition: bool, bit: u32| if condition { bit } else { 0 };
    bit(set_id && who & 4 != 0, 0o4000) | bit(set_id && who & 2 != 0, 0o2000) | bit(sticky, 0o1000)
}

/// One clause: classes, then one or more of operator and permissions.
fn clause(text: &str) -> Option<Vec<Change>> {
    let start = text.find(['+', '-', '='])?;
    let who = text[..start].chars().try_fold(0, |who, c| Some(who | class(c)?))?;
    let who = if who == 0 { 7 } else { who };
    let mut changes = Vec::new();
    let mut rest = &text[start..];
    while let Some(operator) = rest.chars().next() {
        let operator = match operator {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            _ => Operator::Set,
        };
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |end| end + 1);
        changes.push(Change { who, operator, what: what(&rest[1..end])? });
        rest = &rest[end..];
    }
    Some(changes)
}

fn class(c: char) -> Option<u8> {
    match c {
        'u' => Some(4),
        'g' => Some(2),
        'o' => Some(1),
        'a' => Some(7),
        _ => None,
    }
}

fn what(text: &str) -> Option<What> {
    if let "u" | "g" | "o" = text {
        return text.chars().next().and_then(class).map(What::Of);
    }
    let (mut bits, mut conditional_x, mut set_id, mut sticky) = (0, false, false, false);
    for c in text.chars() {
        match c {
            'r' => bits |= 4,
            'w' => bits |= 2,
            'x' => bits |= 1,
            'X' => conditional_x = true,
            's' => set_id = true,
            't' => sticky = true,
            _ => return None,
        }
    }
    Some(What::Letters { bits, conditional_x, set_id, sticky })
}

impl fmt::Display for Clauses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ChmodSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChmodSpec::Octal(mode) => write!(f, "{mode:04o}"),
            ChmodSpec::Symbolic(clauses) => write!(f, "{clauses}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(text: &str, mode: u32, is_dir: bool) -> u32 {
        ChmodSpec::parse(text).unwrap().apply(mode, is_dir)
    }

    #[test]
    fn octal_replaces() {
        assert_eq!(apply("755", 0o600, false), 0o755);
        assert_eq!(apply("04711", 0o600, false), 0o4711);
    }

    #[test]
    fn symbolic_changes() {
        assert_eq!(apply("u+x", 0o644, false), 0o744);
        assert_eq!(apply("go-rw", 0o666, false), 0o600);
        assert_eq!(apply("a=rX", 0o600, false), 0o444);
        assert_eq!(apply("a=rX", 0o700, false), 0o555);
        assert_eq!(apply("a=rX", 0o600, true), 0o555);
        assert_eq!(apply("g=u", 0o750, false), 0o770);
        assert_eq!(apply("u=rwX,go=rX", 0o600, true), 0o755);
        assert_eq!(apply("u+s,+t", 0o755, false), 0o5755);
        assert_eq!(apply("u=rw-w+x", 0o000, false), 0o500);
        assert_eq!(apply("+x", 0o644, false), 0o755);
        assert_eq!(apply("o=", 0o777, false), 0o770);
        assert_eq!(apply("u+x,g+X", 0o644, false), 0o744);
        assert_eq!(apply("go=u-w", 0o750, false), 0o755);
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in ["", "8", "888", "10000", "0x7", "u", "u+q", "u=rw,", "z+x", "ux+"] {
            assert!(ChmodSpec::parse(text).is_err(), "{text:?} was accepted");
        }
        let error = ChmodSpec::parse("999").unwrap_err().to_string();
        assert!(error.contains("between 0 and 07777"), "{error}");
    }
}
