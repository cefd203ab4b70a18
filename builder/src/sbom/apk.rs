//! Alpine's packages: `lib/apk/db/installed`, records of `X:value` lines.

use super::fields::{Paragraph, paragraphs};
use super::{Manager, Package, Take, text};

/// The packages of the database.
pub(super) fn parse(bytes: &[u8], take: Take<'_>) {
    let text = String::from_utf8_lossy(bytes);
    // The names of fields are single letters that differ by case: `p:` is not `P:`.
    let _enough = paragraphs(&text).filter_map(|paragraph| package(&paragraph)).try_for_each(take);
}

fn package(record: &Paragraph<'_>) -> Option<Package> {
    let field = |name| record.exact(name).and_then(text);
    let name = field("P")?;
    Some(Package {
        manager: Manager::Apk,
        version: field("V")?,
        arch: field("A"),
        license: field("L"),
        supplier: field("m"),
        homepage: field("U"),
        source: field("o").filter(|origin| *origin != name),
        name,
        ..Package::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sbom::tests::all;

    const INSTALLED: &str = "\
C:Q1abc=
P:musl
V:1.2.4-r2
A:x86_64
S:383459
T:the musl c library (libc) implementation
U:https://musl.libc.org/
L:MIT
o:musl
m:Timo <timo@example.org>
p:so:libc.musl-x86_64.so.1=1
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755

P:libcrypto3
V:3.1.4-r5
A:x86_64
L:Apache-2.0
o:openssl

V:no name
";

    #[test]
    fn records_of_letters() {
        let found = all(parse, INSTALLED.as_bytes());
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), found[0].version.as_str()), ("musl", "1.2.4-r2"));
        assert_eq!((found[0].license.as_deref(), &found[0].source), (Some("MIT"), &None));
        assert_eq!((found[1].source.as_deref(), &found[1].homepage), (Some("openssl"), &None));
    }
}
