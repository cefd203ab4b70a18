//! Debian's packages: `var/lib/dpkg/status`, and `status.d` of images that are built without dpkg.

use super::fields::{Paragraph, paragraphs};
use super::{Manager, Package, Take, text};

/// What a package is whose files are there.
const INSTALLED: &str = "installed";

/// The installed packages of a status file.
pub(super) fn parse(bytes: &[u8], take: Take<'_>) {
    let text = String::from_utf8_lossy(bytes);
    let _enough = paragraphs(&text).filter_map(|paragraph| package(&paragraph)).try_for_each(take);
}

fn package(paragraph: &Paragraph<'_>) -> Option<Package> {
    // Files of `status.d` say nothing of a status: they are of packages that are there.
    let is_installed = |status: &str| status.split_whitespace().next_back() == Some(INSTALLED);
    if !paragraph.get("Status").is_none_or(is_installed) {
        return None;
    }
    let field = |name| paragraph.get(name).and_then(text);
    let name = field("Package")?;
    // `Source: glibc (2.36-9)` has a version where it differs from the package's.
    let source = field("Source").and_then(|source| text(source.split('(').next().unwrap_or_default()));
    Some(Package {
        manager: Manager::Dpkg,
        version: field("Version")?,
        arch: field("Architecture"),
        supplier: field("Maintainer"),
        homepage: field("Homepage"),
        source: source.filter(|source| *source != name),
        name,
        ..Package::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sbom::tests::all;

    const STATUS: &str = "\
Package: libc6
Status: install ok installed
Priority: optional
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: amd64
Source: glibc (2.36-8)
Version: 2.36-9+deb12u4
Description: GNU C Library
 Homepage: not a field

Package: removed
Status: deinstall ok config-files
Version: 1

Package: distroless
Version: 2
";

    #[test]
    fn what_is_installed_is_listed() {
        let found = all(parse, STATUS.as_bytes());
        assert_eq!(
            found.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(),
            ["libc6", "distroless"]
        );
        assert_eq!(found[0].version, "2.36-9+deb12u4");
        assert_eq!((found[0].source.as_deref(), found[0].arch.as_deref()), (Some("glibc"), Some("amd64")));
        assert_eq!((&found[0].homepage, &found[1].arch), (&None, &None));
    }
}
