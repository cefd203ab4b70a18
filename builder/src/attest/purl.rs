//! Package URLs (purl-spec): `pkg:type/namespace/name@version?qualifiers`.

use std::fmt;

use kiln_oci::{Platform, Reference};

/// What names a package wherever it is published.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Purl {
    /// The kind of package, for example `deb`.
    pub kind: &'static str,
    /// Segments between type and name, joined by `/`; empty is none.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The version; empty is none.
    pub version: String,
    /// Further facts by name, sorted; empty values are left out.
    pub qualifiers: Vec<(&'static str, String)>,
}

impl Purl {
    /// An image at its registry. The repository keeps the registry in front of it unless that is Docker Hub's, as
    /// BuildKit writes it.
    pub fn of_image(reference: &Reference, platform: Option<&Platform>) -> Purl {
        let name = reference.familiar_name();
        let (namespace, name) = name.rsplit_once('/').unwrap_or(("", &name));
        let digest = reference.digest().map(ToString::to_string).unwrap_or_default();
        let platform = platform.map(ToString::to_string).unwrap_or_default();
        Purl {
            kind: "docker",
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            version: reference.tag().unwrap_or_default().to_owned(),
            qualifiers: vec![("digest", digest), ("platform", platform)],
        }
    }
}

impl fmt::Display for Purl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkg:{}/", self.kind)?;
        for segment in self.namespace.split('/').filter(|segment| !segment.is_empty()) {
            write!(f, "{}/", Encoded(segment))?;
        }
        write!(f, "{}", Encoded(&self.name))?;
        if !self.version.is_empty() {
            write!(f, "@{}", Encoded(&self.version))?;
        }
        let mut separator = '?';
        for (key, value) in self.qualifiers.iter().filter(|(_, value)| !value.is_empty()) {
            write!(f, "{separator}{key}={}", Encoded(value))?;
            separator = '&';
        }
        Ok(())
    }
}

/// Text with everything encoded that purl-spec does not let stand: all but letters, digits and `.-_~:`.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
                    write!(f, "{}", char::from(byte))?;
                }
                other => write!(f, "%{other:02X}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_specification_writes_them() {
        let purl = |kind, namespace: &str, name: &str, version: &str, qualifiers| Purl {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            qualifiers,
        };
        let arch = vec![("arch", "amd64".to_owned()), ("distro", String::new())];
        for (purl, expected) in [
            (
                purl("deb", "debian", "libstdc++6", "2:12.2~1+b1", arch),
                "pkg:deb/debian/libstdc%2B%2B6@2:12.2~1%2Bb1?arch=amd64",
            ),
            (purl("npm", "@angular", "cli", "12.3.1", vec![]), "pkg:npm/%40angular/cli@12.3.1"),
            (purl("pypi", "", "django", "", vec![]), "pkg:pypi/django"),
            (purl("rpm", "a/b", "ü", "1 2", vec![]), "pkg:rpm/a/b/%C3%BC@1%202"),
        ] {
            assert_eq!(purl.to_string(), expected);
        }
    }

    #[test]
    fn images_with_registry_and_platform() {
        let platform = Platform::new("linux", "arm", Some("v7"));
        let of = |text: &str, platform| {
            Purl::of_image(&text.parse::<Reference>().unwrap().with_default_tag(), platform).to_string()
        };
        assert_eq!(
            of("debian:bookworm", Some(&platform)),
            "pkg:docker/debian@bookworm?platform=linux%2Farm%2Fv7"
        );
        assert_eq!(of("me/app", None), "pkg:docker/me/app@latest");
        assert_eq!(of("127.0.0.1:5000/a/b:1", None), "pkg:docker/127.0.0.1:5000/a/b@1");
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(of(&format!("app:1@{digest}"), None), format!("pkg:docker/app@1?digest={digest}"));
    }
}
