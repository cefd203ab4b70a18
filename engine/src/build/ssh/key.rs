//! A private key: read from the forms in which it is kept, and signing as SSH wants it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
};

use super::openssh;
use super::wire::{put_integer, put_string, strings};

/// A client asks for a signature of an RSA key over SHA-256 (draft-ietf-sshm-ssh-agent, section 3.6.1).
const RSA_SHA2_256: u32 = 2;
/// The same over SHA-512.
const RSA_SHA2_512: u32 = 4;

/// A private key that signs.
pub(super) struct Key {
    /// The public key as SSH writes it.
    pub(super) public: Vec<u8>,
    /// What its owner calls it.
    pub(super) comment: String,
    pair: Pair,
}

/// A pair of keys of one kind.
pub(super) enum Pair {
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair, &'static Curve),
}

/// An elliptic curve of NIST's.
pub(super) struct Curve {
    /// Its name in SSH.
    pub(super) name: &'static str,
    /// Bytes of a number on it.
    pub(super) bytes: usize,
    /// How ring signs on it.
    pub(super) algorithm: &'static EcdsaSigningAlgorithm,
}

/// The curves that can sign here.
pub(super) static CURVES: [Curve; 2] = [
    Curve { name: "nistp256", bytes: 32, algorithm: &ECDSA_P256_SHA256_FIXED_SIGNING },
    Curve { name: "nistp384", bytes: 48, algorithm: &ECDSA_P384_SHA384_FIXED_SIGNING },
];

/// Why a key is not taken.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: &'static str,
    pub(super) hint: Option<&'static str>,
}

pub(super) const BROKEN: Refused = Refused { why: "is damaged", hint: None };
pub(super) const ENCRYPTED: Refused = Refused {
    why: "is encrypted",
    hint: Some("add it to an agent with `ssh-add`, and forward that with `--ssh default`"),
};
pub(super) const UNKNOWN: Refused = Refused {
    why: "is of a kind that kiln cannot sign with",
    hint: Some(
        "Ed25519, RSA from 2048 bits on, and ECDSA on P-256 and P-384 can be used, and any in an agent",
    ),
};
const NO_KEY: Refused = Refused { why: "is not a private key", hint: None };
const OLD_FORM: Refused = Refused {
    why: "is in a form that kiln does not read",
    hint: Some("`ssh-keygen -p -f FILE` writes it in OpenSSH's own form"),
};

impl Key {
    /// Reads a key in OpenSSH's form, PKCS #8, or PKCS #1 for RSA, all in PEM armour without a passphrase.
    pub(super) fn parse(text: &[u8]) -> Result<Key, Refused> {
        let (label, body) = armoured(text).ok_or(NO_KEY)?;
        if label.contains("ENCRYPTED") || body.contains("ENCRYPTED") {
            return Err(ENCRYPTED);
        }
        let bytes = STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).map_err(|_| BROKEN)?;
        match label {
            "OPENSSH PRIVATE KEY" => openssh::parse(&bytes),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&bytes).map(Pair::Rsa).map(of).map_err(|_| UNKNOWN),
            "PRIVATE KEY" => pkcs8(&bytes).map(of).ok_or(UNKNOWN),
            label if label.ends_with("PRIVATE KEY") => Err(OLD_FORM),
            _ => Err(NO_KEY),
        }
    }

    pub(super) fn new(pair: Pair, comment: &str) -> Key {
        Key { public: public(&pair), comment: comment.to_owned(), pair }
    }

    /// The signature of `data` with the name of its kind; `None` for a kind that is not made any more.
    pub(super) fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        match &self.pair {
            Pair::Ed25519(pair) => Some(strings(&[b"ssh-ed25519", pair.sign(data).as_ref()])),
            Pair::Rsa(pair) => sign_rsa(pair, data, flags),
            Pair::Ecdsa(pair, curve) => {
                let signature = pair.sign(&SystemRandom::new(), data).ok()?;
                let (r, s) = signature.as_ref().split_at_checked(curve.bytes)?;
                let mut both = Vec::new();
                put_integer(&mut both, r);
                put_integer(&mut both, s);
                Some(strings(&[format!("ecdsa-sha2-{}", curve.name).as_bytes(), &both]))
            }
        }
    }
}

fn of(pair: Pair) -> Key {
    Key::new(pair, "")
}

fn sign_rsa(pair: &RsaKeyPair, data: &[u8], flags: u32) -> Option<Vec<u8>> {
    // Without a flag it would be over SHA-1, which nobody accepts any more.
    let (name, padding): (&str, &'static dyn ring::signature::RsaEncoding) = match flags {
        flags if flags & RSA_SHA2_512 != 0 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
        flags if flags & RSA_SHA2_256 != 0 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
        _ => return None,
    };
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(padding, &SystemRandom::new(), data, &mut signature).ok()?;
    Some(strings(&[name.as_bytes(), &signature]))
}

/// The public key as SSH writes it: the name of its kind, then its numbers.
fn public(pair: &Pair) -> Vec<u8> {
    match pair {
        Pair::Ed25519(pair) => strings(&[b"ssh-ed25519", pair.public_key().as_ref()]),
        Pair::Ecdsa(pair, curve) => strings(&[
            format!("ecdsa-sha2-{}", curve.name).as_bytes(),
            curve.name.as_bytes(),
            pair.public_key().as_ref(),
        ]),
        Pair::Rsa(pair) => {
            let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public());
            let mut blob = Vec::new();
            put_string(&mut blob, b"ssh-rsa");
            put_integer(&mut blob, &e);
            put_integer(&mut blob, &n);
            blob
        }
    }
}

fn pkcs8(bytes: &[u8]) -> Option<Pair> {
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes) {
        return Some(Pair::Ed25519(pair));
    }
    if let Ok(pair) = RsaKeyPair::from_pkcs8(bytes) {
        return Some(Pair::Rsa(pair));
    }
    CURVES.iter().find_map(|curve| {
        let pair = EcdsaKeyPair::from_pkcs8(curve.algorithm, bytes, &SystemRandom::new()).ok()?;
        Some(Pair::Ecdsa(pair, curve))
    })
}

/// The label and the body of the first block in PEM armour.
fn armoured(text: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    Some((label, body))
}
