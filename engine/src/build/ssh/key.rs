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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::sync::LazyLock;

    use ring::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
    };

    use tempfile::TempDir;

    use super::super::wire::Reader;
    use super::*;

    /// Keys of every kind and form, made by `ssh-keygen` once for all tests. They open nothing and are gone with the
    /// folder.
    static KEYS: LazyLock<TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let key = |name: &str| folder.path().join(name);
        for (name, kind, bits) in [
            ("ed25519", "ed25519", "256"),
            ("rsa", "rsa", "2048"),
            ("p256", "ecdsa", "256"),
            ("p384", "ecdsa", "384"),
            ("p521", "ecdsa", "521"),
        ] {
            let comment = format!("test {name}");
            keygen(&["-t", kind, "-b", bits, "-N", "", "-C", &comment], &key(name));
        }
        keygen(&["-t", "ed25519", "-N", "passphrase"], &key("encrypted"));
        for (from, form, to) in [
            ("rsa", "PEM", "rsa.pkcs1"),
            ("rsa", "PKCS8", "rsa.pkcs8"),
            ("p256", "PEM", "p256.sec1"),
            ("p256", "PKCS8", "p256.pkcs8"),
        ] {
            std::fs::copy(key(from), key(to)).unwrap();
            keygen(&["-p", "-P", "", "-N", "", "-m", form], &key(to));
        }
        folder
    });

    fn keygen(args: &[&str], file: &Path) {
        let output = Command::new("ssh-keygen").arg("-q").args(args).arg("-f").arg(file).output();
        let output = output.expect("`ssh-keygen` (openssh-client) makes the keys of these tests");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn file(name: &str) -> Vec<u8> {
        std::fs::read(KEYS.path().join(name)).unwrap()
    }

    /// The public key and the comment that `ssh-keygen` wrote.
    fn written(name: &str) -> (Vec<u8>, String) {
        let text = String::from_utf8(file(&format!("{name}.pub"))).unwrap();
        let mut words = text.trim().splitn(3, ' ').skip(1);
        (STANDARD.decode(words.next().unwrap()).unwrap(), words.next().unwrap().to_owned())
    }

    #[test]
    fn every_form_holds_the_public_key_that_ssh_keygen_wrote() {
        for (form, name) in [
            ("ed25519", "ed25519"),
            ("rsa", "rsa"),
            ("rsa.pkcs1", "rsa"),
            ("rsa.pkcs8", "rsa"),
            ("p256", "p256"),
            ("p256.pkcs8", "p256"),
            ("p384", "p384"),
        ] {
            let key = Key::parse(&file(form)).unwrap_or_else(|refused| panic!("{form}: {refused:?}"));
            let (public, comment) = written(name);
            assert_eq!(key.public, public, "{form}");
            // Only OpenSSH's own form has a place for the comment.
            assert_eq!(key.comment, if form == name { comment } else { String::new() }, "{form}");
        }
    }

    /// The fields of a public key or a signature, the name of its kind first.
    fn fields(blob: &[u8]) -> Vec<Vec<u8>> {
        let mut reader = Reader(blob);
        std::iter::from_fn(|| reader.string().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn signatures_are_those_of_the_public_key() {
        for (name, flags, kind) in [
            ("ed25519", 0, "ssh-ed25519"),
            ("rsa", RSA_SHA2_256, "rsa-sha2-256"),
            ("rsa", RSA_SHA2_512, "rsa-sha2-512"),
            ("p256", 0, "ecdsa-sha2-nistp256"),
            ("p384", 0, "ecdsa-sha2-nistp384"),
        ] {
            let key = Key::parse(&file(name)).unwrap();
            let (public, signature) = (fields(&key.public), fields(&key.sign(b"text", flags).unwrap()));
            assert_eq!(signature[0], kind.as_bytes());
            let verified = match name {
                "ed25519" => UnparsedPublicKey::new(&ED25519, &public[1]).verify(b"text", &signature[1]),
                "rsa" => {
                    let of = PublicKeyComponents { n: unsigned(&public[2]), e: unsigned(&public[1]) };
                    let padding = if flags == RSA_SHA2_256 {
                        &RSA_PKCS1_2048_8192_SHA256
                    } else {
                        &RSA_PKCS1_2048_8192_SHA512
                    };
                    of.verify(padding, b"text", &signature[1])
                }
                _ => {
                    let (bytes, algorithm) = if name == "p256" {
                        (32, &ECDSA_P256_SHA256_FIXED)
                    } else {
                        (48, &ECDSA_P384_SHA384_FIXED)
                    };
                    let numbers: Vec<u8> =
                        fields(&signature[1]).iter().flat_map(|number| padded(number, bytes)).collect();
                    UnparsedPublicKey::new(algorithm, &public[2]).verify(b"text", &numbers)
                }
            };
            assert_eq!(verified, Ok(()), "{name} {flags}");
        }
        assert!(Key::parse(&file("rsa")).unwrap().sign(b"text", 0).is_none(), "SHA-1 is not signed with");
    }

    fn unsigned(number: &[u8]) -> &[u8] {
        number.strip_prefix(&[0]).unwrap_or(number)
    }

    fn padded(number: &[u8], bytes: usize) -> Vec<u8> {
        let number = unsigned(number);
        [&vec![0; bytes - number.len()], number].concat()
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let cut = file("ed25519")[..200].to_vec();
        let damaged =
            String::from_utf8(file("p256")).unwrap().replace("b3BlbnNzaC1rZXktdjE", "b3BlbnNzaC1rZXktdjI");
        for (text, why) in [
            (file("encrypted"), "is encrypted"),
            (
                b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n-----END ENCRYPTED PRIVATE KEY-----".to_vec(),
                "is encrypted",
            ),
            (file("p256.sec1"), "is in a form that kiln does not read"),
            (file("p521"), "is of a kind that kiln cannot sign with"),
            (file("rsa.pub"), "is not a private key"),
            (cut, "is not a private key"),
            (damaged.into_bytes(), "is damaged"),
            (vec![0xff; 100], "is not a private key"),
        ] {
            assert_eq!(Key::parse(&text).map(drop).unwrap_err().why, why);
        }
    }
}
