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
    /// Permissions by their letters.
    Letters(Letters),
    /// The permissions of another class, named by its bit.
    Of(u8),
}

/// `r`, `w`, `x` as bits 4, 2, 1; then `X`, `s` and `t`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Letters {
    bits: u8,
    conditional_x: bool,
    set_id: bool,
    sticky: bool,
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
    fn apply(self, mode: u32, original: u32, is_dir: bool) -> u32 {
        let (bits, cleared) = match self.what {
            What::Of(class) => (spread((mode >> shift(class)) as u8 & 7, self.who), spread(7, self.who)),
            What::Letters(letters) => {
                (self.bits(letters, original, is_dir), spread(7, self.who) | special(self.who, true, false))
            }
        };
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => mode & !cleared | bits,
        }
    }

    /// `X` asks for the bits that were there at first, as BuildKit has it, and not for those of an earlier change; taken
    /// away it is `x`.
    fn bits(self, letters: Letters, original: u32, is_dir: bool) -> u32 {
        let searchable = is_dir || original & 0o111 != 0 || self.operator == Operator::Remove;
        let x = u8::from(letters.conditional_x && searchable);
        spread(letters.bits | x, self.who) | special(self.who, letters.set_id, letters.sticky)
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
        changes.extend(whats(&rest[1..end])?.into_iter().map(|what| Change { who, operator, what }));
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

/// What follows an operator. Each class that is named is a change of its own, in the order of the text: `u=go` leaves
/// the permissions of others, and `u+go` has both, as in BuildKit.
fn whats(text: &str) -> Option<Vec<What>> {
    let (mut whats, mut letters) = (Vec::new(), Letters::default());
    for c in text.chars() {
        if matches!(c, 'u' | 'g' | 'o') {
            if letters != Letters::default() {
                whats.push(What::Letters(std::mem::take(&mut letters)));
            }
            whats.push(What::Of(class(c)?));
        } else {
            letters.add(c)?;
        }
    }
    if whats.is_empty() || letters != Letters::default() {
        whats.push(What::Letters(letters));
    }
    Some(whats)
}

impl Letters {
    fn add(&mut self, c: char) -> Option<()> {
        match c {
            'r' => self.bits |= 4,
            'w' => self.bits |= 2,
            'x' => self.bits |= 1,
            'X' => self.conditional_x = true,
            's' => self.set_id = true,
            't' => self.sticky = true,
            _ => return None,
        }
        Some(())
    }
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

    /// The cases of the library that BuildKit reads modes with.
    #[test]
    fn classes_are_copied_one_after_the_other() {
        for (text, mode, expected) in [
            ("u=g", 0o742, 0o442),
            ("u=go", 0o021, 0o121),
            ("u+go", 0o021, 0o321),
            ("u+go", 0o42, 0o642),
            ("go=u-w", 0o370, 0o311),
            ("u=g-w", 0o772, 0o572),
            ("u=rg", 0o017, 0o117),
            ("u=gr", 0o017, 0o417),
            ("u-uX", 0o711, 0o011),
            ("a=r,ug=rw,u+x", 0o777, 0o764),
            ("o+r,g+w,a+t,g-s,u+og", 0o2100, 0o1724),
            ("=u", 0o750, 0o777),
        ] {
            assert_eq!(apply(text, mode, false), expected, "{text} of {mode:04o}");
        }
    }

    #[test]
    fn bits_beside_the_permissions() {
        assert_eq!(apply("u=r", 0o4755, false), 0o455, "set-id goes with the letters of its class");
        assert_eq!(apply("u=g", 0o4705, false), 0o4005, "and not with a copy");
        assert_eq!(apply("a=rwx", 0o1755, true), 0o1777, "the sticky bit goes only when it is named");
        assert_eq!(apply("a-t", 0o1777, true), 0o777);
        assert_eq!(apply("u+x,u-X", 0o644, false), 0o644);
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in ["", "8", "888", "10000", "0x7", "u", "u+q", "u=rw,", "z+x", "ux+", "u=a", "u=ga", "u=g,"]
        {
            assert!(ChmodSpec::parse(text).is_err(), "{text:?} was accepted");
        }
        let error = ChmodSpec::parse("999").unwrap_err().to_string();
        assert!(error.contains("between 0 and 07777"), "{error}");
    }
}
