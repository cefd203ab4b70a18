//! URLs as people may see them.

/// What stands for the user info of a URL.
const REDACTED: &str = "xxxxx";

/// `text` with the user info of every URL in it made unreadable: passwords, and user names too where they may be tokens.
/// The user of an `ssh` URL is no secret.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| "/?#\"'`<>".contains(c) || c.is_whitespace()).unwrap_or(after.len());
        out.push_str(&redact_authority(before, &after[..end]));
        rest = &after[end..];
    }
    out + rest
}

fn redact_authority(before: &str, authority: &str) -> String {
    let Some((user, host)) = authority.rsplit_once('@') else { return authority.to_owned() };
    match (before.ends_with("ssh://"), user.split_once(':')) {
        (true, None) => authority.to_owned(),
        (true, Some((name, _))) => format!("{name}:{REDACTED}@{host}"),
        (false, _) => format!("{REDACTED}@{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_info_is_shown() {
        for (text, expected) in [
            ("ADD https://u:p@h/r.git#main /d", "ADD https://xxxxx@h/r.git#main /d"),
            ("https://token@h", "https://xxxxx@h"),
            ("https://u:p@ss@h/x", "https://xxxxx@h/x"),
            ("a http://u:p@h/ b https://v:q@i/", "a http://xxxxx@h/ b https://xxxxx@i/"),
            ("ssh://git@h/r and ssh://git:p@h/r", "ssh://git@h/r and ssh://git:xxxxx@h/r"),
            ("[\"https://h/a@b\"]", "[\"https://h/a@b\"]"),
            ("git@h:r.git", "git@h:r.git"),
            ("://", "://"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }
}
