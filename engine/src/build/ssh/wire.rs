//! The data types of the SSH protocol (RFC 4251, section 5).

/// Reads values one after the other; `None` where there is not enough.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes(4)?.try_into().ok()?))
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.bytes(usize::try_from(length).ok()?)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.string()?).ok()
    }

    /// A number of any size that is not negative, big-endian without leading zeros.
    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        let bytes = self.string()?;
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        Some(&bytes[start..])
    }
}

/// A string after the others.
pub(super) fn put_string(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    to.extend_from_slice(bytes);
}

/// A number of any size, given big-endian.
pub(super) fn put_integer(to: &mut Vec<u8>, bytes: &[u8]) {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let mut number = Vec::new();
    if bytes.get(start).is_some_and(|first| first & 0x80 != 0) {
        // Without it the number would be negative.
        number.push(0);
    }
    number.extend_from_slice(&bytes[start..]);
    put_string(to, &number);
}

/// Strings in a row.
pub(super) fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    parts.iter().for_each(|part| put_string(&mut all, part));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_no_zeros_in_front_but_one_before_a_sign() {
        let put = |bytes: &[u8]| {
            let mut to = Vec::new();
            put_integer(&mut to, bytes);
            to
        };
        assert_eq!(put(&[0, 0, 0x80]), [0, 0, 0, 2, 0, 0x80]);
        assert_eq!(put(&[0, 1]), [0, 0, 0, 1, 1]);
        assert_eq!(put(&[0]), [0, 0, 0, 0]);
        assert_eq!(Reader(&put(&[0x80])).integer(), Some(&[0x80][..]));
        assert_eq!(Reader(&[0, 0, 0, 9, 1]).string(), None);
    }
}
