//! RPM packages: `rpmdb.sqlite`, whose rows are package headers as RPM files have them.

use super::sqlite::{Column, big_endian, rows};
use super::{Manager, Package, Take, text};

/// The table, and which of its columns has the header.
const TABLE: (&str, usize) = ("Packages", 1);
/// Bytes in front of a header's index: the number of its entries and the length of its data.
const PREFIX: usize = 8;
/// The length of an entry.
const ENTRY: usize = 16;
/// Types of entry: a number of 32 bits, and texts alone, in a list or in languages.
const INT32: u64 = 4;
const TEXTS: [u64; 3] = [6, 8, 9];
/// Keys for signatures are kept as packages.
const KEY: &str = "gpg-pubkey";

/// What a header has under a number (`rpmtag.h`).
mod tag {
    pub(super) const NAME: u64 = 1000;
    pub(super) const VERSION: u64 = 1001;
    pub(super) const RELEASE: u64 = 1002;
    pub(super) const EPOCH: u64 = 1003;
    pub(super) const VENDOR: u64 = 1011;
    pub(super) const LICENSE: u64 = 1014;
    pub(super) const URL: u64 = 1020;
    pub(super) const ARCH: u64 = 1022;
    pub(super) const SOURCERPM: u64 = 1044;
}

/// The packages of a database; `None` where it is none.
pub(super) fn parse(bytes: &[u8], take: Take<'_>) -> Option<()> {
    let (table, column) = TABLE;
    let header = |row: &Vec<Column>| match row.get(column) {
        Some(Column::Bytes(header)) => package(header),
        _ => None,
    };
    let _enough = rows(bytes, table)?.iter().filter_map(header).try_for_each(take);
    Some(())
}

/// The package that a header describes.
pub(super) fn package(header: &[u8]) -> Option<Package> {
    let header = Header::of(header)?;
    let field = |tag| header.text(tag).and_then(|value| text(&value));
    let name = field(tag::NAME).filter(|name| name != KEY)?;
    let version = format!("{}-{}", field(tag::VERSION)?, field(tag::RELEASE)?);
    Some(Package {
        manager: Manager::Rpm,
        version,
        arch: field(tag::ARCH),
        epoch: header.number(tag::EPOCH),
        license: field(tag::LICENSE),
        supplier: field(tag::VENDOR),
        homepage: field(tag::URL),
        source: field(tag::SOURCERPM).and_then(|file| source_name(&file)).filter(|source| *source != name),
        name,
        ..Package::default()
    })
}

/// `glibc-2.28-1.src.rpm` is of `glibc`.
fn source_name(file: &str) -> Option<String> {
    let (rest, _release) = file.rsplit_once('-')?;
    rest.rsplit_once('-').and_then(|(name, _version)| text(name))
}

/// A header: an index of entries, and their data.
struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn of(bytes: &'a [u8]) -> Option<Header<'a>> {
        let entries = usize::try_from(big_endian(bytes, 0, 4)?).ok()?;
        let length = usize::try_from(big_endian(bytes, 4, 4)?).ok()?;
        let data = PREFIX.checked_add(entries.checked_mul(ENTRY)?)?;
        Some(Header { index: bytes.get(PREFIX..data)?, data: bytes.get(data..data.checked_add(length)?)? })
    }

    /// The type and the data of an entry, from where it begins.
    fn entry(&self, tag: u64) -> Option<(u64, &'a [u8])> {
        let entry = self.index.chunks_exact(ENTRY).find(|entry| big_endian(entry, 0, 4) == Some(tag))?;
        let offset = usize::try_from(big_endian(entry, 8, 4)?).ok()?;
        Some((big_endian(entry, 4, 4)?, self.data.get(offset..)?))
    }

    /// The first text of an entry.
    fn text(&self, tag: u64) -> Option<String> {
        let (kind, data) = self.entry(tag)?;
        let end = data.iter().position(|byte| *byte == 0).filter(|_| TEXTS.contains(&kind))?;
        Some(String::from_utf8_lossy(&data[..end]).into_owned())
    }

    fn number(&self, tag: u64) -> Option<u32> {
        let (kind, data) = self.entry(tag)?;
        u32::try_from(big_endian(data, 0, 4)?).ok().filter(|_| kind == INT32)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A header of texts and a number.
    pub(in crate::sbom) fn header(texts: &[(u64, &str)], epoch: Option<u32>) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        let mut add = |tag: u64, kind: u64, bytes: &[u8]| {
            for number in [tag, kind, data.len() as u64, 1] {
                index.extend_from_slice(&(number as u32).to_be_bytes());
            }
            data.extend_from_slice(bytes);
        };
        epoch.iter().for_each(|epoch| add(tag::EPOCH, INT32, &epoch.to_be_bytes()));
        texts.iter().for_each(|(tag, text)| add(*tag, 6, format!("{text}\0").as_bytes()));
        let lengths = [index.len() / ENTRY, data.len()].map(|length| (length as u32).to_be_bytes());
        [&lengths.concat()[..], &index, &data].concat()
    }

    #[test]
    fn a_header_is_a_package() {
        let texts = [
            (tag::NAME, "bash"),
            (tag::VERSION, "5.1"),
            (tag::RELEASE, "2.el9"),
            (tag::LICENSE, "GPLv3+"),
            (tag::ARCH, "x86_64"),
            (tag::SOURCERPM, "bash-5.1-2.el9.src.rpm"),
        ];
        let found = package(&header(&texts, Some(1))).unwrap();
        assert_eq!(
            (found.name.as_str(), found.version.as_str(), found.epoch),
            ("bash", "5.1-2.el9", Some(1))
        );
        assert_eq!((found.license.as_deref(), found.source), (Some("GPLv3+"), None));
        let key = [(tag::NAME, KEY), (tag::VERSION, "1"), (tag::RELEASE, "2")];
        assert_eq!(package(&header(&key, None)), None);
        assert_eq!(source_name("glibc-2.28-1.el8.src.rpm").as_deref(), Some("glibc"));
    }
}
