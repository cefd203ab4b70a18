//! The document: SPDX 2.3 as JSON, the same bytes for the same packages.

use std::collections::BTreeMap;

use kiln_oci::{Digest, Digester};
use serde_json::{Map, Value, json};

use super::license::{self, Extracted};
use super::scan::Inventory;
use super::{Distro, Package};
use crate::attest::purl::Purl;

const VERSION: &str = "SPDX-2.3";
/// The licence of the document itself, the only one that there may be.
const DATA_LICENSE: &str = "CC0-1.0";
/// Where documents of those are who have no place of their own on the web.
const NAMESPACE: &str = "https://spdx.org/spdxdocs";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";
/// What stands where nobody says anything.
const NOTHING: &str = "NOASSERTION";
/// Digits of a digest that keep apart what else would have one name.
const DIGITS: usize = 12;

/// What the packages are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What people call it.
    pub name: String,
    /// Its package URL, where it is published.
    pub purl: Option<Purl>,
    /// What it is, whatever it is called: the digest of its filesystem.
    pub content: Digest,
    /// When it was made, RFC 3339.
    pub created: String,
}

/// The document of what was found in `subject`.
pub fn document(subject: &Subject, inventory: &Inventory) -> Value {
    let Inventory { distro, packages, notes } = inventory;
    let mut extracted = Extracted::new();
    let found: BTreeMap<String, &Package> =
        packages.iter().map(|package| (id(package, distro), package)).collect();
    let entries = found.iter().map(|(id, package)| entry(id, package, distro, &mut extracted));
    let entries: Vec<Value> = std::iter::once(image(subject, distro)).chain(entries).collect();
    let describes = relationship(DOCUMENT, "DESCRIBES", IMAGE);
    let contains = found.keys().map(|id| relationship(IMAGE, "CONTAINS", id));
    let mut document = json!({
        "spdxVersion": VERSION,
        "dataLicense": DATA_LICENSE,
        "SPDXID": DOCUMENT,
        "name": subject.name,
        "documentNamespace": namespace(subject, found.keys()),
        "creationInfo": {
            "created": seconds(&subject.created),
            "creators": [concat!("Tool: kiln-", env!("CARGO_PKG_VERSION"))],
        },
        "packages": entries,
        "relationships": std::iter::once(describes).chain(contains).collect::<Vec<_>>(),
    });
    if !extracted.is_empty() {
        let info = |(id, text): (String, String)| json!({ "licenseId": id, "extractedText": text });
        document["hasExtractedLicensingInfos"] = extracted.into_iter().map(info).collect();
    }
    if !notes.is_empty() {
        document["comment"] = format!("not read: {}", notes.join("; ")).into();
    }
    document
}

/// The same for the same content, another one for another: what SPDX asks of it.
fn namespace<'a>(subject: &Subject, ids: impl Iterator<Item = &'a String>) -> String {
    let mut digester = Digester::sha256();
    let mut part = |text: &str| {
        digester.update(&(text.len() as u64).to_le_bytes());
        digester.update(text.as_bytes());
    };
    part(&subject.name);
    part(subject.content.as_str());
    part(&subject.created);
    part(env!("CARGO_PKG_VERSION"));
    ids.for_each(|id| part(id));
    format!("{NAMESPACE}/kiln-{}", digester.finish().hex())
}

/// SPDX has no fractions of seconds.
fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, rest)) => {
            let zone = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{whole}{zone}")
        }
        None => time.to_owned(),
    }
}

fn image(subject: &Subject, distro: &Distro) -> Value {
    let mut entry = json!({
        "SPDXID": IMAGE,
        "name": subject.name,
        "versionInfo": subject.content.to_string(),
        "downloadLocation": NOTHING,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING,
        "licenseDeclared": NOTHING,
        "copyrightText": NOTHING,
        "primaryPackagePurpose": "CONTAINER",
    });
    if !distro.name.is_empty() {
        entry["comment"] = distro.name.as_str().into();
    }
    if let Some(purl) = &subject.purl {
        entry["externalRefs"] = json!([reference(purl)]);
    }
    entry
}

fn entry(id: &str, package: &Package, distro: &Distro, extracted: &mut Extracted) -> Value {
    let Package { name, version, license, supplier, homepage, source, found_in, .. } = package;
    let declared = license.as_ref().map_or(NOTHING.to_owned(), |text| license::expression(text, extracted));
    let mut entry = Map::new();
    let mut add = |key: &str, value: Value| drop(entry.insert(key.to_owned(), value));
    add("SPDXID", id.into());
    add("name", name.as_str().into());
    add("versionInfo", version.as_str().into());
    add("supplier", supplier.as_deref().map_or(NOTHING.to_owned(), organization).into());
    add("downloadLocation", NOTHING.into());
    add("filesAnalyzed", false.into());
    if let Some(homepage) = homepage.as_deref().filter(|url| is_url(url)) {
        add("homepage", homepage.into());
    }
    let built_of = source.as_ref().map(|source| format!("; built from the source package {source}"));
    add("sourceInfo", format!("found in {found_in}{}", built_of.unwrap_or_default()).into());
    add("licenseConcluded", NOTHING.into());
    add("licenseDeclared", declared.into());
    add("copyrightText", NOTHING.into());
    add("externalRefs", json!([reference(&package.purl(distro))]));
    entry.into()
}

/// `Name <mail>` as SPDX writes it.
fn organization(text: &str) -> String {
    match text.trim_end_matches('>').split_once('<') {
        Some((name, mail)) if !name.trim().is_empty() => {
            format!("Organization: {} ({})", name.trim(), mail.trim())
        }
        _ => format!("Organization: {}", text.trim_matches(['<', '>'])),
    }
}

fn is_url(text: &str) -> bool {
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic()))
}

fn reference(purl: &Purl) -> Value {
    json!({
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl.to_string(),
    })
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// A name of letters, digits, `.` and `-`, and digits that tell apart what looks alike with only those.
fn id(package: &Package, distro: &Distro) -> String {
    let Package { name, version, found_in, .. } = package;
    let kind = package.manager.purl_type();
    let text = format!("{kind}-{name}-{version}");
    let safe: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let digest = Digest::of(format!("{} {found_in}", package.purl(distro)).as_bytes());
    format!("SPDXRef-{safe}-{}", &digest.hex()[..DIGITS])
}
