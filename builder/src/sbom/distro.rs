//! Which distribution a filesystem is of: `etc/os-release` (os-release(5)).

/// The most characters of a value: each package's URL has it.
const MAX_WORD: usize = 256;

/// A distribution.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distro {
    /// `ID`, for example `debian`; empty where nobody says.
    pub id: String,
    /// `VERSION_ID`, for example `12`.
    pub version: String,
    /// `PRETTY_NAME`.
    pub name: String,
}

impl Distro {
    /// Reads an `os-release`.
    pub fn parse(bytes: &[u8]) -> Distro {
        let text = String::from_utf8_lossy(bytes);
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches(['"', '\'']).chars().take(MAX_WORD).collect::<String>()
        };
        let word =
            |text: String| text.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
        Distro { id: word(value("ID")), version: word(value("VERSION_ID")), name: value("PRETTY_NAME") }
    }

    /// `debian-12`, as package URLs have it.
    pub(super) fn tag(&self) -> String {
        let parts = [self.id.as_str(), self.version.as_str()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_missing_lines() {
        let debian =
            Distro::parse(b"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n");
        assert_eq!(
            (debian.tag().as_str(), debian.name.as_str()),
            ("debian-12", "Debian GNU/Linux 12 (bookworm)")
        );
        assert_eq!(Distro::parse(b"ID=arch\n").tag(), "arch");
        assert_eq!(Distro::parse(b"").tag(), "");
    }
}
