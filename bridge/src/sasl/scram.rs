//! SCRAM with SHA-256 or SHA-512 (RFC 5802, RFC 7677), without channel binding, as Kafka has it
//! (KIP-84): names and passwords are taken as they are, not prepared by `SASLprep`.
//!
//! ```text
//! we      n,,n=user,r=nonce
//! broker  r=nonce+more,s=salt,i=iterations
//! we      c=biws,r=nonce+more,p=proof
//! broker  v=signature | e=error
//! ```

use core::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::digest::Digest;
use hmac::digest::core_api::BlockSizeUser;
use hmac::{Mac, SimpleHmac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Sha256, Sha512};

use super::{Next, SaslError, SecretBytes};

/// Fewer iterations let whoever listens guess the password (RFC 7677, section 4; Kafka's least).
pub(super) const ITERATIONS_MIN: u32 = 4_096;
/// More keep a small processor busy for seconds. Kafka's own most is 16,384.
pub(super) const ITERATIONS_MAX: u32 = 200_000;
/// Bytes of a broker's message. Kafka's have about 130.
const MESSAGE_BYTES_MAX: usize = 4_096;
/// Bytes of a salt.
const SALT_BYTES_MAX: usize = 1_024;

/// The hash function of a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

/// One exchange.
pub(super) struct Scram {
    hash: Hash,
    password: SecretString,
    nonce: String,
    first_bare: String,
    /// What the broker must send in the end.
    signature: Option<Signature>,
}

/// Holds the message and the key, so that the comparison can take the same time whatever differs.
enum Signature {
    Sha256(SimpleHmac<Sha256>),
    Sha512(SimpleHmac<Sha512>),
}

impl Scram {
    pub(super) fn begin(
        hash: Hash,
        username: &str,
        password: &SecretString,
        nonce: &str,
    ) -> Result<(Self, String), SaslError> {
        let printable = |c: char| c.is_ascii_graphic() && c != ',';
        if nonce.is_empty() || !nonce.chars().all(printable) {
            return Err(SaslError::Unusable("a nonce is printable and has no comma"));
        }
        if username.is_empty() || username.contains('\0') {
            return Err(SaslError::Unusable("a user name with a NUL, or none"));
        }
        let name = username.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={name},r={nonce}");
        let first = format!("n,,{first_bare}");
        let (password, nonce) = (password.clone(), nonce.to_owned());
        Ok((Self { hash, password, nonce, first_bare, signature: None }, first))
    }

    pub(super) fn handle(&mut self, answer: &[u8]) -> Result<Next, SaslError> {
        let text = answer.get(..MESSAGE_BYTES_MAX).map_or(answer, |_| &[]);
        let text = core::str::from_utf8(text).ok().filter(|text| !text.is_empty());
        let text = text.ok_or(SaslError::Malformed("no text of a reasonable length"))?;
        if let Some(why) = text.strip_prefix("e=") {
            let why: String = why.chars().filter(|c| !c.is_control()).take(100).collect();
            return Err(SaslError::Refused(why));
        }
        match self.signature.take() {
            None => self.prove(text),
            Some(signature) => verify(signature, text),
        }
    }

    /// The answer to the broker's first message.
    fn prove(&mut self, first: &str) -> Result<Next, SaslError> {
        let Challenge { nonce, salt, iterations } = Challenge::parse(first)?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(SaslError::Malformed("the nonce does not begin with ours"));
        }
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{first},{without_proof}", self.first_bare);
        let password = self.password.expose_secret().as_bytes();
        let (proof, signature) = match self.hash {
            Hash::Sha256 => {
                let mut salted = [0; 32];
                pbkdf2::pbkdf2_hmac::<Sha256>(password, &salt, iterations, &mut salted);
                let (proof, signature) = proof::<Sha256>(&salted, &message);
                (proof, Signature::Sha256(signature))
            }
            Hash::Sha512 => {
                let mut salted = [0; 64];
                pbkdf2::pbkdf2_hmac::<Sha512>(password, &salt, iterations, &mut salted);
                let (proof, signature) = proof::<Sha512>(&salted, &message);
                (proof, Signature::Sha512(signature))
            }
        };
        self.signature = Some(signature);
        Ok(Next::Send(SecretBytes(format!("{without_proof},p={proof}").into_bytes())))
    }
}

/// The proof that we know the password, and what the broker's has to be (RFC 5802, section 3).
fn proof<D: Digest + BlockSizeUser>(salted: &[u8], message: &str) -> (String, SimpleHmac<D>) {
    let client_key = keyed::<D>(salted, "Client Key").finalize().into_bytes();
    let stored_key = D::digest(&client_key);
    let signature = keyed::<D>(&stored_key, message).finalize().into_bytes();
    let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, sign)| key ^ sign).collect();
    let server_key = keyed::<D>(salted, "Server Key").finalize().into_bytes();
    (BASE64.encode(proof), keyed::<D>(&server_key, message))
}

fn keyed<D: Digest + BlockSizeUser>(key: &[u8], message: &str) -> SimpleHmac<D> {
    let mac = <SimpleHmac<D> as Mac>::new_from_slice(key);
    let mut mac = mac.unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"));
    mac.update(message.as_bytes());
    mac
}

/// The broker's last message.
fn verify(signature: Signature, text: &str) -> Result<Next, SaslError> {
    let value = text.strip_prefix("v=").ok_or(SaslError::Malformed("no signature"))?;
    let value = value.split(',').next().unwrap_or_default();
    let value = BASE64.decode(value).map_err(|_| SaslError::Malformed("no Base64"))?;
    let right = match signature {
        Signature::Sha256(mac) => mac.verify_slice(&value).is_ok(),
        Signature::Sha512(mac) => mac.verify_slice(&value).is_ok(),
    };
    if right { Ok(Next::Done) } else { Err(SaslError::WrongSignature) }
}

/// The broker's first message.
struct Challenge<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> Challenge<'a> {
    fn parse(text: &'a str) -> Result<Self, SaslError> {
        let mut parts = text.split(',');
        let mut part = |name: &str, wrong| {
            let part = parts.next().and_then(|part| part.strip_prefix(name));
            part.ok_or(SaslError::Malformed(wrong))
        };
        // A mandatory extension, `m=`, would come first; there is none that we know.
        let nonce = part("r=", "no nonce")?;
        let salt = part("s=", "no salt")?;
        let iterations = part("i=", "no number of iterations")?;
        let salt = BASE64.decode(salt).map_err(|_| SaslError::Malformed("no Base64"))?;
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
            return Err(SaslError::Malformed("the salt's length"));
        }
        let iterations: u32 =
            iterations.parse().map_err(|_| SaslError::Malformed("the number of iterations"))?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(SaslError::Iterations(iterations));
        }
        Ok(Self { nonce, salt, iterations })
    }
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram").field("hash", &self.hash).finish_non_exhaustive()
    }
}
