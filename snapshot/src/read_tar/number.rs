//! The number fields of a tar header.

/// An octal field: leading spaces or zeros, digits, then spaces or zero bytes. An empty field is 0.
pub(crate) fn octal(field: &[u8]) -> Option<u64> {
    let blank = |b: &u8| matches!(b, b' ' | 0);
    let start = field.iter().position(|b| !blank(b)).unwrap_or(field.len());
    let end = field[start..].iter().position(blank).map_or(field.len(), |length| start + length);
    if !field[end..].iter().all(blank) {
        return None;
    }
    field[start..end].iter().try_fold(0u64, |value, &digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// A field in octal, or in base 256 when its first bit is set.
pub(crate) fn signed(field: &[u8]) -> Option<i64> {
    match field.first()? {
        first if first & 0x80 == 0 => octal(field).and_then(|value| i64::try_from(value).ok()),
        first => {
            // The bit after the marker is the sign; the value is in two's complement.
            let start = if first & 0x40 == 0 { i128::from(first & 0x3f) } else { i128::from(*first as i8) };
            let value = field[1..]
                .iter()
                .try_fold(start, |value, &byte| value.checked_mul(256)?.checked_add(i128::from(byte)))?;
            i64::try_from(value).ok()
        }
    }
}

/// Like [`signed`], for what cannot be negative.
pub(crate) fn unsigned(field: &[u8]) -> Option<u64> {
    signed(field).and_then(|value| u64::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields_in_all_their_spellings() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"644\0\0\0\0\0", Some(0o644)),
            (b"77777777777", Some(0o77777777777)),
            (b"\0\0\0\0", Some(0)),
            (b"    ", Some(0)),
            (b"0008", None),
            (b"-1\0\0", None),
            (b"6 44", None),
        ] {
            assert_eq!(octal(field), value, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn base_256_has_a_sign() {
        assert_eq!(signed(b"\x80\0\0\0\0\0\0\0\0\0\x01\x02"), Some(0x102));
        assert_eq!(signed(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(unsigned(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), None);
        assert_eq!(signed(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(unsigned(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), Some(i64::MAX as u64));
        assert_eq!(unsigned(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"), None);
    }
}
