//! Reads a table of an SQLite file (fileformat2): the few parts of the format that a list of packages needs.
//!
//! The library itself would run what a stranger's schema says. Here pages are followed, each at most once, and nothing is
//! run. What a write-ahead log holds is not seen.

use std::collections::HashSet;

const MAGIC: &[u8] = b"SQLite format 3\0";
/// The length of the file's header, which is in front of the first page's.
const FILE_HEADER: usize = 100;
/// Kinds of page of a table.
const LEAF: u8 = 0x0d;
const INTERIOR: u8 = 0x05;
/// How deep a table's tree may be; four billion pages do not make it deeper.
const MAX_DEPTH: usize = 32;
/// The columns of a row that are looked at: those of the schema.
const MAX_COLUMNS: usize = 5;

/// A column of a row; numbers other than whole ones are not needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Column {
    Number(i64),
    Bytes(Vec<u8>),
    Other,
}

/// The rows of a table. Damaged pages are left out; `None` where the file is no database or has no such table.
pub(super) fn rows(bytes: &[u8], table: &str) -> Option<Vec<Vec<Column>>> {
    let mut pages = Pages::of(bytes)?;
    let is_table = |row: &Vec<Column>| {
        let text = |at: usize, expected: &str| row.get(at) == Some(&Column::Bytes(expected.into()));
        text(0, "table") && text(1, table)
    };
    let Column::Number(root) = *pages.table(1).iter().find(|row| is_table(row))?.get(3)? else { return None };
    Some(pages.table(u32::try_from(root).ok()?))
}

/// A file as pages, numbered from 1.
struct Pages<'a> {
    bytes: &'a [u8],
    size: usize,
    /// What of a page is used; some programs keep the end for themselves.
    usable: usize,
    seen: HashSet<u32>,
    /// Bytes that rows may still have: they do not overlap, so all together have no more than the file.
    left: usize,
}

impl<'a> Pages<'a> {
    fn of(bytes: &'a [u8]) -> Option<Pages<'a>> {
        let header = bytes.get(..FILE_HEADER).filter(|header| header.starts_with(MAGIC))?;
        let size = match big_endian(header, 16, 2)? {
            1 => 65536,
            size => usize::try_from(size).ok()?,
        };
        let usable = size.checked_sub(usize::from(header[20]))?;
        (size.is_power_of_two() && usable >= 480).then(|| Pages {
            bytes,
            size,
            usable,
            seen: HashSet::new(),
            left: bytes.len(),
        })
    }

    /// A page that was not looked at yet.
    fn page(&mut self, number: u32) -> Option<&'a [u8]> {
        let start = usize::try_from(number).ok()?.checked_sub(1)?.checked_mul(self.size)?;
        let page = self.bytes.get(start..start.checked_add(self.size)?)?;
        self.seen.insert(number).then_some(page)
    }

    fn table(&mut self, root: u32) -> Vec<Vec<Column>> {
        let mut rows = Vec::new();
        let mut stack = vec![(root, 0)];
        while let Some((number, depth)) = stack.pop() {
            let Some(page) = self.page(number).filter(|_| depth <= MAX_DEPTH) else { continue };
            let header = if number == 1 { FILE_HEADER } else { 0 };
            match page.get(header) {
                Some(&LEAF) => {
                    let cells = cells(page, header, 8);
                    rows.extend(cells.filter_map(|cell| columns(&self.payload(page, cell)?)));
                }
                Some(&INTERIOR) => {
                    let right = big_endian(page, header + 8, 4);
                    let left = cells(page, header, 12).map(|cell| big_endian(page, cell, 4));
                    // The last is taken from the stack first: rows come in their order.
                    let children: Vec<u64> = left.chain([right]).flatten().collect();
                    let children = children.into_iter().rev().filter_map(|child| u32::try_from(child).ok());
                    stack.extend(children.map(|child| (child, depth + 1)));
                }
                _ => {}
            }
        }
        rows
    }

    /// The row's bytes, of which a long one has the rest on pages of its own.
    fn payload(&mut self, page: &[u8], cell: usize) -> Option<Vec<u8>> {
        let (length, cell) = varint(page, cell)?;
        let (_, start) = varint(page, cell)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= self.left)?;
        self.left -= length;
        let local = self.local(length);
        let mut payload = page.get(start..start.checked_add(local)?)?.to_vec();
        let mut next = if local < length { big_endian(page, start + local, 4)? } else { 0 };
        while payload.len() < length {
            let rest = self.page(u32::try_from(next).ok()?)?;
            next = big_endian(rest, 0, 4)?;
            let take = (length - payload.len()).min(self.usable - 4);
            payload.extend_from_slice(rest.get(4..4 + take)?);
        }
        Some(payload)
    }

    /// How much of a row of so many bytes is on its own page.
    fn local(&self, length: usize) -> usize {
        let (usable, most) = (self.usable, self.usable - 35);
        if length <= most {
            return length;
        }
        let least = (usable - 12) * 32 / 255 - 23;
        let kept = least + (length - least) % (usable - 4);
        if kept <= most { kept } else { least }
    }
}

/// Where the cells of a page are, whose list is so many bytes after its header.
fn cells(page: &[u8], header: usize, list: usize) -> impl Iterator<Item = usize> {
    let count = big_endian(page, header + 3, 2).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    let cell = move |index| big_endian(page, header + list + 2 * index, 2);
    (0..count).map_while(cell).filter_map(|at| usize::try_from(at).ok())
}

/// A record: the types of its columns, then their values.
fn columns(record: &[u8]) -> Option<Vec<Column>> {
    let (header, mut at) = varint(record, 0)?;
    let header = usize::try_from(header).ok()?;
    let mut value = header;
    let mut columns = Vec::new();
    while at < header && columns.len() < MAX_COLUMNS {
        let (kind, next) = varint(record, at)?;
        at = next;
        let (column, size) = column(record, value, kind)?;
        value = value.checked_add(size)?;
        columns.push(column);
    }
    Some(columns)
}

fn column(record: &[u8], at: usize, kind: u64) -> Option<(Column, usize)> {
    let integer = |size: usize| {
        let number = big_endian(record, at, size)?;
        // The first bit is the sign's.
        let unused = 64 - 8 * size as u32;
        Some((Column::Number((number << unused).cast_signed() >> unused), size))
    };
    match kind {
        1..=4 => integer(kind as usize),
        5 => integer(6),
        6 => integer(8),
        7 => Some((Column::Other, 8)),
        8 | 9 => Some((Column::Number(i64::from(kind == 9)), 0)),
        0 | 10 | 11 => Some((Column::Other, 0)),
        _ => {
            let size = usize::try_from((kind - 12) / 2).ok()?;
            let bytes = record.get(at..at.checked_add(size)?)?;
            Some((Column::Bytes(bytes.to_vec()), size))
        }
    }
}

/// A number of one to nine bytes, and where it ends.
fn varint(bytes: &[u8], start: usize) -> Option<(u64, usize)> {
    let mut number = 0u64;
    for at in 0..9 {
        let byte = *bytes.get(start.checked_add(at)?)?;
        if at == 8 {
            return Some((number << 8 | u64::from(byte), start + 9));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((number, start + at + 1));
        }
    }
    None
}

pub(super) fn big_endian(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let digits = bytes.get(at..at.checked_add(size)?)?;
    Some(digits.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, params};

    use super::*;

    /// A database of rows with blobs of these lengths.
    fn database(lengths: &[usize]) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sqlite");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(
            "CREATE TABLE other (a); CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, n, t, blob BLOB);",
        )
        .unwrap();
        for (number, length) in lengths.iter().enumerate() {
            let blob: Vec<u8> = (0..*length).map(|at| (at * 7 + number) as u8).collect();
            let number = i64::try_from(number).unwrap() * -1_000_003;
            db.execute("INSERT INTO Packages (n, t, blob) VALUES (?1, 1.5, ?2)", params![number, blob])
                .unwrap();
        }
        db.close().unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn rows_on_many_pages_come_whole_and_in_order() {
        let lengths: Vec<usize> = (0..300).map(|n| n * n).collect();
        let rows = rows(&database(&lengths), "Packages").unwrap();
        assert_eq!(rows.len(), lengths.len());
        for (number, (row, length)) in rows.iter().zip(&lengths).enumerate() {
            let expected: Vec<u8> = (0..*length).map(|at| (at * 7 + number) as u8).collect();
            assert_eq!(row[1], Column::Number(i64::try_from(number).unwrap() * -1_000_003));
            assert!(row[3] == Column::Bytes(expected), "row {number} of {length} bytes");
        }
    }

    #[test]
    fn what_is_no_database_or_damaged_is_not_followed() {
        assert_eq!(rows(b"", "Packages"), None);
        assert_eq!(rows(&database(&[]), "Nothing"), None);
        let whole = database(&[10, 100_000]);
        for length in (0..whole.len()).step_by(501) {
            drop(rows(&whole[..length], "Packages"));
        }
        let mut damaged = whole;
        for at in (FILE_HEADER..damaged.len()).step_by(13) {
            damaged[at] = damaged[at].wrapping_mul(31).wrapping_add(7);
            drop(rows(&damaged, "Packages"));
        }
    }
}
