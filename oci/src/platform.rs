//! Platforms: operating system, architecture and variant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system, a CPU architecture and its variant, in Go's spelling (image-spec, image-index.md).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture as `GOARCH` spells it.
    pub architecture: String,
    /// Operating system as `GOOS` spells it.
    pub os: String,
    /// CPU variant, for example `v7`; normalised away where it is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Windows build; carried, never interpreted.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

/// Why a string is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform; expected `os/architecture[/variant]`, for example `linux/amd64`")]
pub struct PlatformError(String);

impl Platform {
    /// A normalised platform.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = os.to_ascii_lowercase();
        let os = if os == "macos" { "darwin".to_owned() } else { os };
        let (architecture, variant) =
            normalise(&architecture.to_ascii_lowercase(), variant.map(str::to_ascii_lowercase));
        Platform { architecture, os, variant, os_version: None }
    }

    /// The platform this program runs on.
    pub fn host() -> Self {
        Platform::new("linux", std::env::consts::ARCH, None)
    }

    /// The text with the version of the operating system, as `TARGETPLATFORM` has it: `windows(10.0.17763)/amd64`.
    pub fn format_all(&self) -> String {
        let version = self.os_version.as_ref().map(|version| format!("({version})")).unwrap_or_default();
        let variant = self.variant.as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
        format!("{}{version}/{}{variant}", self.os, self.architecture)
    }

    /// How well an image for `self` serves a request for `wanted`: higher is better, `None` is not at all.
    ///
    /// An ARM machine runs its own and lower 32-bit variants; elsewhere the variant must be the same or absent.
    pub fn serves(&self, wanted: &Platform) -> Option<u32> {
        if self.os != wanted.os || self.architecture != wanted.architecture {
            return None;
        }
        match (self.variant.as_deref(), wanted.variant.as_deref()) {
            (have, want) if have == want => Some(100),
            (Some(have), want) if self.architecture == "arm" => {
                let (have, want) = (arm_version(have)?, arm_version(want.unwrap_or("v7"))?);
                (have <= want).then_some(50 + have)
            }
            (None, Some(_)) => Some(10),
            (Some(_), None) if self.architecture == "amd64" => None,
            (Some(_), None) => Some(5),
            _ => None,
        }
    }
}

fn arm_version(variant: &str) -> Option<u32> {
    variant.strip_prefix('v')?.parse().ok()
}

fn normalise(architecture: &str, variant: Option<String>) -> (String, Option<String>) {
    let some = |text: &str| Some(text.to_owned());
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", None),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", some("v7")),
        ("armel", _) => ("arm", some("v6")),
        ("arm", None) => ("arm", some("v7")),
        ("powerpc64le", variant) => ("ppc64le", variant),
        (other, variant) => (other, variant),
    };
    let variant = match (architecture, variant.as_deref()) {
        ("amd64", Some("v1")) | ("arm64", Some("v8" | "8")) => None,
        ("arm", Some("5" | "6" | "7" | "8")) => variant.map(|v| format!("v{v}")),
        _ => variant.filter(|v| !v.is_empty()),
    };
    (architecture.to_owned(), variant)
}

/// The operating systems that may stand alone.
const SYSTEMS: [&str; 4] = ["linux", "windows", "darwin", "freebsd"];
/// The architectures that may stand alone.
const ARCHITECTURES: [&str; 12] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64",
    "s390x",
];

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let fail = || PlatformError(text.to_owned());
        let word = |s: &str| {
            !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        let mut parts: Vec<&str> = text.split('/').collect();
        let os_version = take_version(&mut parts);
        if parts.len() > 3 || !parts.iter().chain(&os_version).all(|part| word(part)) {
            return Err(fail());
        }
        let platform = match parts[..] {
            [one] if SYSTEMS.contains(&one) => Platform::new(one, std::env::consts::ARCH, None),
            [one] => {
                let platform = Platform::new("linux", one, None);
                let known = ARCHITECTURES.contains(&platform.architecture.as_str());
                known.then_some(platform).ok_or_else(fail)?
            }
            [os, architecture] => Platform::new(os, architecture, None),
            [os, architecture, variant] => Platform::new(os, architecture, Some(variant)),
            _ => return Err(fail()),
        };
        Ok(Platform { os_version: os_version.map(str::to_owned), ..platform })
    }
}

/// The version behind the operating system, which is left without it: `windows(10.0.17763)`.
fn take_version<'a>(parts: &mut [&'a str]) -> Option<&'a str> {
    let (os, rest) = parts.first()?.split_once('(')?;
    let version = rest.strip_suffix(')')?;
    parts[0] = os;
    Some(version)
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_normalised() {
        let text = |s: &str| s.parse::<Platform>().unwrap().to_string();
        assert_eq!(text("linux/x86_64"), "linux/amd64");
        assert_eq!(text("linux/arm64/v8"), "linux/arm64");
        assert_eq!(text("arm"), "linux/arm/v7");
        assert_eq!(text("linux/arm/6"), "linux/arm/v6");
        assert_eq!(text("Linux/AMD64"), "linux/amd64");
        assert_eq!(text("aarch64"), "linux/arm64");
        for bad in
            ["", "/", "a/b/c/d", "linux/../../x", "linux/amd64/", "amd46", "linux(1/amd64", "linux()/amd64"]
        {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_version_of_the_system_is_kept() {
        let platform: Platform = "windows(10.0.17763)/x86_64".parse().unwrap();
        assert_eq!(platform.os_version.as_deref(), Some("10.0.17763"));
        assert_eq!(platform.format_all(), "windows(10.0.17763)/amd64");
        assert_eq!(platform.to_string(), "windows/amd64");
    }

    #[test]
    fn an_arm_machine_prefers_its_own_variant() {
        let wanted: Platform = "linux/arm/v7".parse().unwrap();
        let serves = |s: &str| s.parse::<Platform>().unwrap().serves(&wanted);
        assert!(serves("linux/arm/v7") > serves("linux/arm/v6"));
        assert!(serves("linux/arm/v6") > serves("linux/arm/v5"));
        assert_eq!(serves("linux/arm64"), None);
    }
}
