//! Pairs of tars and the first thing in which they differ.

use super::*;

/// A tar of these entries, written as they are given.
fn tar(entries: &[(&str, &[u8])], change: impl Fn(&str, &mut tar::Header)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_ustar();
        let is_dir = path.ends_with('/');
        header.set_entry_type(if is_dir { tar::EntryType::Directory } else { tar::EntryType::Regular });
        header.set_mode(0o644);
        header.set_mtime(100);
        header.set_size(content.len() as u64);
        change(path, &mut header);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn plain(entries: &[(&str, &[u8])]) -> Vec<u8> {
    tar(entries, |_, _| {})
}

fn all(first: &[u8], second: &[u8], clamp: Option<i64>) -> Vec<String> {
    let mut found = Vec::new();
    compare(first, second, clamp, |difference| {
        found.push(format!("{}: {}", difference.path, difference.attribute));
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

const TREE: [(&str, &[u8]); 4] = [("a/", b""), ("a/b", b"one"), ("a.b", b"two"), ("c", b"three")];

#[test]
fn the_same_tar_has_no_difference() {
    assert_eq!(all(&plain(&TREE), &plain(&TREE), None), [""; 0]);
    assert_eq!(all(&plain(&[]), &plain(&[]), None), [""; 0]);
}

#[test]
fn what_only_one_has_is_named_and_the_rest_still_compared() {
    let first = plain(&TREE);
    let second = plain(&[("a/", b""), ("a.a", b"new"), ("a.b", b"two"), ("c", b"thrice")]);
    let expected = [
        "a/b: is in the first only",
        "a.a: is in the second only",
        "c: content differs from byte 3 on (5 and 6 bytes)",
    ];
    assert_eq!(all(&first, &second, None), expected);
}

#[test]
fn the_first_byte_is_found_in_long_files_too() {
    let mut long = vec![7; 3 * PIECE];
    let first = plain(&[("f", &long), ("g", b"")]);
    long[2 * PIECE + 5] = 8;
    let expected = format!("f: content differs from byte {} on ({} bytes)", 2 * PIECE + 5, 3 * PIECE);
    assert_eq!(all(&first, &plain(&[("f", &long), ("g", b"")]), None), [expected]);
    let expected = format!("f: content differs from byte {PIECE} on ({} and {PIECE} bytes)", 3 * PIECE);
    assert_eq!(all(&first, &plain(&[("f", &vec![7; PIECE]), ("g", b"")]), None), [expected]);
}

#[test]
fn metadata_counts() {
    let second = tar(&TREE, |path, header| {
        if path == "a/b" {
            header.set_mode(0o600);
            header.set_uid(1);
            header.set_mtime(200);
        }
    });
    let expected = ["a/b: mode is 0644 and 0600", "a/b: owner is 0:0 and 1:0", "a/b: mtime is 100 and 200"];
    assert_eq!(all(&plain(&TREE), &second, None), expected);
    assert_eq!(all(&plain(&TREE), &second, Some(50)), expected[..2], "times after the clamp are the clamp");
    assert_eq!(all(&plain(&TREE), &second, Some(150))[2], "a/b: mtime is 100 and 150");
}

#[test]
fn a_deletion_is_no_file() {
    let (first, second) = (plain(&[("a/", b""), ("a/.wh.b", b"")]), plain(&[("a/", b""), ("a/b", b"")]));
    assert_eq!(all(&first, &second, None), ["a/b: is a deletion and a file"]);
    let opaque = plain(&[("a/", b""), ("a/.wh..wh..opq", b""), ("a/b", b"")]);
    assert_eq!(all(&opaque, &second, None), ["a: is in the first only"]);
}

#[test]
fn links_and_attributes_are_named() {
    let link = |target: &str| {
        tar(&[("l", b"")], |_, header| {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_link_name(target).unwrap();
        })
    };
    assert_eq!(all(&link("a"), &link("b"), None), ["l: leads to `a` and to `b`"]);
    let one = vec![(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), b"1".to_vec())];
    let other = vec![(b"user.b".to_vec(), b"2".to_vec())];
    assert_eq!(xattr(&one, &other), Some(&b"user.a"[..]));
    assert_eq!(xattr(&one[1..].to_vec(), &other), Some(&b"user.b"[..]));
    assert_eq!(xattr(&one, &one), None);
}

#[test]
fn whoever_has_heard_enough_ends_it() {
    let (first, second) = (plain(&TREE), plain(&[]));
    let mut count = 0;
    let stop = |_| {
        count += 1;
        ControlFlow::Break(())
    };
    compare(&first[..], &second[..], None, stop).unwrap();
    assert_eq!(count, 1);
    let broken = compare(&first[..700], &second[..], None, |_| ControlFlow::Continue(()));
    assert!(broken.is_err(), "a tar that breaks off is no difference but an error");
}
