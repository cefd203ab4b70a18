//! Private keys as `ssh-keygen` writes them (PROTOCOL.key of OpenSSH), without a passphrase.

use ring::rand::SystemRandom;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};

use super::key::{BROKEN, CURVES, ENCRYPTED, Key, Pair, Refused, UNKNOWN};
use super::wire::Reader;

const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Reads the bytes inside the armour.
pub(super) fn parse(bytes: &[u8]) -> Result<Key, Refused> {
    let mut outer = Reader(bytes.strip_prefix(MAGIC).ok_or(BROKEN)?);
    let mut field = || outer.string().ok_or(BROKEN);
    let (cipher, derivation, _options) = (field()?, field()?, field()?);
    if (cipher, derivation) != (b"none", b"none") {
        return Err(ENCRYPTED);
    }
    if outer.number() != Some(1) {
        return Err(BROKEN);
    }
    let _public = outer.string().ok_or(BROKEN)?;
    let mut inner = Reader(outer.string().ok_or(BROKEN)?);
    let checks = (inner.number(), inner.number());
    if checks.0.is_none() || checks.0 != checks.1 {
        return Err(BROKEN);
    }
    let kind = inner.text().ok_or(BROKEN)?;
    let pair = match kind {
        "ssh-ed25519" => ed25519(&mut inner)?,
        "ssh-rsa" => rsa(&mut inner)?,
        _ => ecdsa(kind, &mut inner)?,
    };
    Ok(Key::new(pair, inner.text().unwrap_or_default()))
}

fn ed25519(fields: &mut Reader<'_>) -> Result<Pair, Refused> {
    let (public, both) = (fields.string().ok_or(BROKEN)?, fields.string().ok_or(BROKEN)?);
    let (seed, _public) = both.split_at_checked(32).ok_or(BROKEN)?;
    Ed25519KeyPair::from_seed_and_public_key(seed, public).map(Pair::Ed25519).map_err(|_| BROKEN)
}

fn ecdsa(kind: &str, fields: &mut Reader<'_>) -> Result<Pair, Refused> {
    let curve =
        CURVES.iter().find(|curve| kind.strip_prefix("ecdsa-sha2-") == Some(curve.name)).ok_or(UNKNOWN)?;
    let _name = fields.string().ok_or(BROKEN)?;
    let (public, short) = (fields.string().ok_or(BROKEN)?, fields.integer().ok_or(BROKEN)?);
    let missing = curve.bytes.checked_sub(short.len()).ok_or(BROKEN)?;
    let private = [&vec![0; missing], short].concat();
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.algorithm, &private, public, &random);
    pair.map(|pair| Pair::Ecdsa(pair, curve)).map_err(|_| BROKEN)
}

#[allow(non_snake_case)] // as PKCS #1 calls them
fn rsa(fields: &mut Reader<'_>) -> Result<Pair, Refused> {
    let mut field = || fields.integer().ok_or(BROKEN);
    let (n, e, d, qInv, p, q) = (field()?, field()?, field()?, field()?, field()?, field()?);
    let dP = remainder(d, &one_less(p));
    let dQ = remainder(d, &one_less(q));
    let public_key = PublicKeyComponents { n, e };
    let components = KeyPairComponents { public_key, d, p, q, dP: &dP[..], dQ: &dQ[..], qInv };
    RsaKeyPair::from_components(&components).map(Pair::Rsa).map_err(|_| UNKNOWN)
}

/// An odd number minus one.
fn one_less(odd: &[u8]) -> Vec<u8> {
    let mut even = odd.to_vec();
    if let Some(last) = even.last_mut() {
        *last &= !1;
    }
    even
}

/// What division leaves, by the way that is taught at school; all numbers big-endian.
fn remainder(number: &[u8], by: &[u8]) -> Vec<u8> {
    let by = [&[0], by].concat();
    let mut rest = vec![0u8; by.len()];
    for bit in number.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)) {
        let mut carry = bit;
        for digit in rest.iter_mut().rev() {
            let doubled = *digit << 1 | carry;
            carry = *digit >> 7;
            *digit = doubled;
        }
        if rest >= by {
            let mut borrow = false;
            for (digit, other) in rest.iter_mut().zip(&by).rev() {
                let (less, one) = digit.overflowing_sub(*other);
                let (less, two) = less.overflowing_sub(u8::from(borrow));
                (*digit, borrow) = (less, one || two);
            }
        }
    }
    let start = rest.iter().position(|digit| *digit != 0).unwrap_or(rest.len());
    rest.split_off(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_are_those_of_numbers() {
        for (number, by) in [(1_000_003_u64, 97_u64), (5, 97), (97, 97), (u64::MAX, 0x1_0001), (0, 3)] {
            let bytes = |number: u64| number.to_be_bytes().to_vec();
            let trim = |bytes: Vec<u8>| bytes.into_iter().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
            assert_eq!(
                remainder(&bytes(number), &trim(bytes(by))),
                trim(bytes(number % by)),
                "{number} % {by}"
            );
        }
    }
}
