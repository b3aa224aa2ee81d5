//! Hashes of passwords: ours, and Mosquitto's as they are.
//!
//! | written as | made by | |
//! |---|---|---|
//! | `$argon2id$v=19$m=…,t=…,p=…$salt$hash` | this program, Mosquitto 2.1 | Argon2id (RFC 9106), PHC string |
//! | `$7$iterations$salt$hash` | Mosquitto 2.0 | PBKDF2 with SHA-512 |
//! | `$6$salt$hash` | Mosquitto before 2.0 | one SHA-512 of password and salt |

use core::fmt;
use core::num::NonZeroU32;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{CustomizedPasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

/// Memory that hashing a password takes: of OWASP's equally strong choices the one for small machines.
const MEMORY_KIB: u32 = 7 * 1024;
/// Passes over it.
const PASSES: u32 = 5;
/// The most memory that a hash of a file may ask for.
const MEMORY_KIB_MAX: u32 = 64 * 1024;
/// The most passes, and lanes, that a hash of a file may ask for.
const PASSES_MAX: u32 = 32;
/// The most iterations of PBKDF2 that a hash of a file may ask for.
const ITERATIONS_MAX: u32 = 1_000_000;
/// Bytes of a salt of ours.
pub const SALT_BYTES: usize = 16;
/// What is verified when there is no such user, so that time does not tell; no password has it.
const DECOY_SALT: [u8; SALT_BYTES] = [0x5A; SALT_BYTES];

/// A hash that can be verified.
#[derive(Clone, Debug)]
pub enum Hash {
    /// Argon2, of any variant.
    Argon2(Box<PasswordHash>),
    /// PBKDF2 with SHA-512.
    Pbkdf2 {
        /// How often.
        iterations: NonZeroU32,
        /// The salt.
        salt: Vec<u8>,
        /// The derived key.
        key: Vec<u8>,
    },
    /// SHA-512 of password and salt.
    Sha512 {
        /// The salt.
        salt: Vec<u8>,
        /// The digest.
        digest: Vec<u8>,
    },
}

/// Why a hash cannot be verified. Does not show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAHash(&'static str);

impl fmt::Display for NotAHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Hash {
    /// Reads a hash.
    ///
    /// # Errors
    /// If it is none, or asks for more memory or time than a gateway gives.
    pub fn parse(text: &str) -> Result<Self, NotAHash> {
        let mut parts = text.split('$').skip(1);
        match parts.next() {
            Some(variant) if variant.starts_with("argon2") => parse_argon2(text),
            Some("7") => {
                let iterations = parts.next().and_then(|count| count.parse::<NonZeroU32>().ok());
                let iterations = iterations.filter(|count| count.get() <= ITERATIONS_MAX);
                let iterations = iterations.ok_or(NotAHash("its number of iterations is wrong"))?;
                let (salt, key) = salt_and_hash(parts)?;
                Ok(Self::Pbkdf2 { iterations, salt, key })
            }
            Some("6") => {
                let (salt, digest) = salt_and_hash(parts)?;
                Ok(Self::Sha512 { salt, digest })
            }
            _ => Err(NotAHash("what stands there is no hash of a password")),
        }
    }

    /// Whether it is the hash of this password.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
            Self::Pbkdf2 { iterations, salt, key } => {
                pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA512, *iterations, salt, password, key).is_ok()
            }
            Self::Sha512 { salt, digest } => {
                let mut context = digest::Context::new(&digest::SHA512);
                context.update(password);
                context.update(salt);
                equal(context.finish().as_ref(), digest)
            }
        }
    }

    /// Whether one of ours would be stronger.
    #[must_use]
    pub const fn is_dated(&self) -> bool {
        !matches!(self, Self::Argon2(_))
    }
}

/// Takes as long as verifying a password of ours.
pub fn verify_nothing(password: &[u8]) {
    drop(hash(password, &DECOY_SALT));
}

/// Hashes a password with a random salt.
///
/// # Panics
/// Never: the parameters are constants within Argon2's bounds.
#[must_use]
pub fn hash(password: &[u8], salt: &[u8; SALT_BYTES]) -> String {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).expect("constants within the bounds");
    Argon2::default()
        .hash_password_customized(
            password,
            salt,
            Some(Algorithm::Argon2id.as_str()),
            Some(Version::V0x13 as u32),
            params,
        )
        .expect("constants within the bounds")
        .to_string()
}

fn parse_argon2(text: &str) -> Result<Hash, NotAHash> {
    let hash = PasswordHash::new(text).map_err(|_| NotAHash("its Argon2 hash is damaged"))?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err(NotAHash("its Argon2 hash is cut"));
    }
    let params = Params::try_from(&hash).map_err(|_| NotAHash("its Argon2 hash is damaged"))?;
    let is_bounded = params.m_cost() <= MEMORY_KIB_MAX
        && params.t_cost() <= PASSES_MAX
        && params.p_cost() <= PASSES_MAX;
    if is_bounded {
        Ok(Hash::Argon2(Box::new(hash)))
    } else {
        Err(NotAHash("its Argon2 hash takes more than 64 MiB, or more than 32 passes"))
    }
}

fn salt_and_hash<'a>(
    mut parts: impl Iterator<Item = &'a str>,
) -> Result<(Vec<u8>, Vec<u8>), NotAHash> {
    let mut next = || {
        let bytes = parts.next().and_then(|text| BASE64.decode(text).ok());
        bytes.filter(|bytes| !bytes.is_empty()).ok_or(NotAHash("its hash is damaged or cut"))
    };
    let (salt, hash) = (next()?, next()?);
    if hash.len() == digest::SHA512_OUTPUT_LEN {
        Ok((salt, hash))
    } else {
        Err(NotAHash("its hash is cut"))
    }
}

/// Takes the same time wherever they differ.
fn equal(one: &[u8], other: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"");
    hmac::verify(&key, other, hmac::sign(&key, one).as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Hash {
        Hash::parse(text).expect("a hash")
    }

    #[test]
    fn verifies_what_it_has_hashed() {
        let text = hash(b"s3cret", &[7; SALT_BYTES]);
        assert!(text.starts_with("$argon2id$v=19$m=7168,t=5,p=1$"), "{text}");
        assert!(parsed(&text).verify(b"s3cret"));
        assert!(!parsed(&text).verify(b"s3crex"));
        assert!(!parsed(&text).is_dated());
        assert_ne!(text, hash(b"s3cret", &[8; SALT_BYTES]));
    }

    /// All of "public": by `mosquitto_passwd` 2.0.11, and by the formula of 1.6.
    const MOSQUITTO: [&str; 2] = [
        "$7$101$zL8xSD1g4Zld5gjD$y28tY5fDolxwQD1pBmBJwWIAcHi7OnXwogF7ID4ELj4uBn0rNsb6W2ZsM2RMIBsh39nyPVlFr/JqqaZ6i7Ur9A==",
        "$6$MDEyMzQ1Njc4OWFi$r7/v1ELZaYpaDtd5BBmsTSxo76l9pFjsc6F1zU2m7tGVhgDZ2BfBHFCKMa6pcpbngCkMLvdFgaHkRGaIsno9hw==",
    ];

    #[test]
    fn verifies_hashes_of_mosquitto_as_they_are() {
        for text in MOSQUITTO {
            let hash = parsed(text);
            assert!(hash.verify(b"public") && hash.is_dated(), "{text}");
            assert!(!hash.verify(b"publix") && !hash.verify(b""), "{text}");
        }
    }

    #[test]
    fn refuses_what_would_cost_too_much_or_is_no_hash() {
        let good = hash(b"x", &[7; SALT_BYTES]);
        for (from, to) in [("m=7168", "m=4194304"), ("t=5", "t=1000"), ("p=1", "p=99")] {
            assert!(Hash::parse(&good.replace(from, to)).is_err(), "{to}");
        }
        let cut = good.rsplit_once('$').expect("parts").0;
        for text in ["", "secret", "$7$0$AAAA$AAAA", "$7$101$AAAA", "$6$AAAA$AAAA", "$5$AAAA", cut]
        {
            assert!(Hash::parse(text).is_err(), "{text}");
        }
    }
}
