//! Python's packages: `METADATA` of a `.dist-info`, `PKG-INFO` of an `.egg-info`.

use super::fields::{Paragraph, paragraphs};
use super::{Manager, Package, text};

/// How classifiers begin that tell a licence.
const LICENSE_CLASSIFIER: &str = "License :: OSI Approved :: ";
/// What is written where nothing is known.
const UNKNOWN: &str = "UNKNOWN";

/// The package that the metadata describes.
pub(super) fn parse(bytes: &[u8]) -> Option<Package> {
    let text_of_file = String::from_utf8_lossy(bytes);
    // A description may follow after a blank line.
    let metadata = paragraphs(&text_of_file).next()?;
    let field = |name| metadata.get(name).and_then(text).filter(|value| value != UNKNOWN);
    Some(Package {
        manager: Manager::Pip,
        name: field("Name")?,
        version: field("Version")?,
        license: field("License-Expression").or_else(|| field("License")).or_else(|| classified(&metadata)),
        supplier: field("Author").or_else(|| field("Author-email")),
        homepage: field("Home-page"),
        ..Package::default()
    })
}

fn classified(metadata: &Paragraph<'_>) -> Option<String> {
    let licenses =
        metadata.all("Classifier").filter_map(|classifier| classifier.strip_prefix(LICENSE_CLASSIFIER));
    text(&licenses.collect::<Vec<_>>().join(" OR "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expression_comes_before_text_and_classifiers() {
        let parse = |more: &str| {
            let text = format!("Metadata-Version: 2.1\nName: Flask_X\nVersion: 3.0\n{more}\n\nName: body\n");
            parse(text.as_bytes()).unwrap()
        };
        let both = "License: BSD\nLicense-Expression: BSD-3-Clause\nAuthor: UNKNOWN\nAuthor-email: a@b.c";
        assert_eq!(parse(both).license.as_deref(), Some("BSD-3-Clause"));
        assert_eq!(parse(both).supplier.as_deref(), Some("a@b.c"));
        let classifier = "License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License";
        assert_eq!(parse(classifier).license.as_deref(), Some("MIT License"));
        assert_eq!(parse("").name, "Flask_X");
        assert_eq!(super::parse(b"Version: 1\n"), None);
    }
}
