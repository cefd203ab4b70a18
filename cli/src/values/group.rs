//! Groups of this machine.

use kiln_engine::Result;

use super::wrong;

/// Where groups have their numbers.
const GROUPS: &str = "/etc/group";

/// The number of a group that is given by name or number.
pub(crate) fn number(option: &str, text: &str) -> Result<u32> {
    match find(text, &std::fs::read_to_string(GROUPS).unwrap_or_default()) {
        Some(number) => Ok(number),
        None => wrong(option, text, format!("there is no such group in `{GROUPS}`")),
    }
}

fn find(text: &str, groups: &str) -> Option<u32> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let mut lines = groups.lines().map(|line| line.split(':'));
    let mut fields = lines.find_map(|mut fields| (fields.next() == Some(text)).then_some(fields))?;
    fields.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name_and_number() {
        let groups = "root:x:0:\ndocker:x:998:a,b\nbroken\n";
        assert_eq!(find("docker", groups), Some(998));
        assert_eq!(find("17", groups), Some(17));
        for absent in ["", "dock", "broken", "-1", "x"] {
            assert_eq!(find(absent, groups), None, "{absent}");
        }
    }
}
