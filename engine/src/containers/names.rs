//! Ids, and names for containers that nobody named.

use std::io::Read;

use crate::{Error, Result};

const MOODS: [&str; 24] = [
    "amber", "brisk", "calm", "clever", "crisp", "eager", "fair", "gentle", "glowing", "happy", "keen",
    "kind", "lively", "lucid", "merry", "nimble", "noble", "plucky", "quiet", "rapid", "sunny", "tidy",
    "vivid", "warm",
];
const THINGS: [&str; 24] = [
    "anvil",
    "beacon",
    "brick",
    "bridge",
    "candle",
    "clay",
    "copper",
    "ember",
    "flint",
    "forge",
    "furnace",
    "glaze",
    "hearth",
    "lantern",
    "marble",
    "mortar",
    "oven",
    "pebble",
    "porcelain",
    "potter",
    "saffron",
    "slate",
    "tile",
    "vessel",
];
const MAX_NAME: usize = 255;

/// 64 random hex characters: an id as containers have them.
pub fn new_id() -> Result<String> {
    let mut bytes = [0_u8; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Error::internal("read `/dev/urandom`", error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A name that follows from an id: a mood, a thing and, as the second and later tries, a number.
pub(super) fn name_of(id: &str, attempt: u32) -> String {
    let number = u64::from_str_radix(&id[..12], 16).unwrap_or_default();
    let mood = MOODS[(number % 24) as usize];
    let thing = THINGS[(number / 24 % 24) as usize];
    if attempt == 0 { format!("{mood}_{thing}") } else { format!("{mood}_{thing}{}", number / 576 % 1000) }
}

/// Whether a container or volume can have this name.
pub(crate) fn check(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let fits = bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        && (2..=MAX_NAME).contains(&name.len());
    if fits {
        return Ok(());
    }
    Err(Error::invalid(format!("`{name}` is not a name")).with_hint(
        "names have letters, digits, `_`, `.` and `-`, at least two, and begin with a letter or digit",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_and_checked() {
        let id = new_id().unwrap();
        assert_eq!(id.len(), 64);
        for attempt in 0..2 {
            check(&name_of(&id, attempt)).unwrap();
        }
        for bad in ["", "x", "-x", "a/b", "a b", "ümlaut"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
