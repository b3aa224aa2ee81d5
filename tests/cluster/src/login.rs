//! Whom the brokers let in: the server's side of SASL, written apart from the client's.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};

/// The mechanisms that brokers take.
pub(crate) const MECHANISMS: [&str; 4] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];
const ITERATIONS: u32 = 4_096;
const SALT: &[u8] = b"salt of a stand-in";

/// Users with their passwords, and tokens.
#[derive(Clone, Debug, Default)]
pub struct Users {
    passwords: BTreeMap<String, String>,
    tokens: Vec<String>,
    /// How long a login holds, in milliseconds (`connections.max.reauth.ms`); 0: for as long as the
    /// connection.
    pub lifetime_ms: i64,
}

impl Users {
    /// Lets a user in with this password, and no other.
    pub fn set_password(&mut self, user: &str, password: &str) {
        self.passwords.insert(user.to_owned(), password.to_owned());
    }

    /// Lets a user in no more.
    pub fn remove(&mut self, user: &str) {
        self.passwords.remove(user);
    }

    /// Takes these tokens, and no other.
    pub fn set_tokens(&mut self, tokens: &[&str]) {
        self.tokens = tokens.iter().map(|&token| token.to_owned()).collect();
    }
}

/// How far a connection's login is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// Nobody has said who it is.
    Nobody,
    /// The mechanism is agreed; its first message is awaited.
    First(&'static str),
    /// The client's proof is awaited.
    Proof { mechanism: &'static str, user: String, messages: String, nonce: String },
    /// The client was told of an error and has to say that it has seen it.
    TokenRefused,
    /// Let in.
    Done,
}

/// What the broker says, or that it does not let the client in.
pub(crate) type Answered = Result<(Vec<u8>, Login), &'static str>;

const INVALID: &str = "Authentication failed: Invalid username or password";

impl Login {
    /// The client's next message.
    pub(crate) fn handle(&self, users: &Users, message: &[u8]) -> Answered {
        let text = core::str::from_utf8(message).map_err(|_| INVALID)?;
        match self {
            Self::First("PLAIN") => plain(users, text),
            Self::First("OAUTHBEARER") => Ok(token(users, text)),
            Self::First(mechanism) => challenge(mechanism, text),
            Self::Proof { mechanism, user, messages, nonce } => {
                let password = users.passwords.get(user).ok_or(INVALID)?;
                let last = match *mechanism {
                    "SCRAM-SHA-256" => verify::<Scram256>(password, (messages, nonce), text)?,
                    _ => verify::<Scram512>(password, (messages, nonce), text)?,
                };
                Ok((last, Self::Done))
            }
            Self::TokenRefused => Err("{\"status\":\"invalid_token\"}"),
            Self::Nobody | Self::Done => Err("no handshake before"),
        }
    }
}

fn plain(users: &Users, text: &str) -> Answered {
    let mut parts = text.split('\0').skip(1);
    let (user, password) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let good = users.passwords.get(user).is_some_and(|known| known == password);
    if good { Ok((Vec::new(), Login::Done)) } else { Err(INVALID) }
}

fn token(users: &Users, text: &str) -> (Vec<u8>, Login) {
    let token = text.split('\u{1}').find_map(|part| part.strip_prefix("auth=Bearer "));
    if token.is_some_and(|token| users.tokens.iter().any(|known| known == token)) {
        (Vec::new(), Login::Done)
    } else {
        (b"{\"status\":\"invalid_token\"}".to_vec(), Login::TokenRefused)
    }
}

fn challenge(mechanism: &'static str, first: &str) -> Answered {
    let bare = first.strip_prefix("n,,").ok_or(INVALID)?;
    let (name, nonce) = bare.split_once(",r=").ok_or(INVALID)?;
    let user = name.strip_prefix("n=").ok_or(INVALID)?;
    let nonce = format!("{nonce}+broker");
    let answer = format!("r={nonce},s={},i={ITERATIONS}", BASE64.encode(SALT));
    let messages = format!("{bare},{answer}");
    let user = user.replace("=2C", ",").replace("=3D", "=");
    Ok((answer.into_bytes(), Login::Proof { mechanism, user, messages, nonce }))
}

/// The two hash functions, by what SCRAM needs of them (RFC 5802, section 2.2).
trait Scram {
    fn hash(bytes: &[u8]) -> Vec<u8>;
    fn hmac(key: &[u8], text: &[u8]) -> Vec<u8>;
}

struct Scram256;
struct Scram512;

impl Scram for Scram256 {
    fn hash(bytes: &[u8]) -> Vec<u8> {
        Sha256::digest(bytes).to_vec()
    }

    fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
        let mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
        mac.chain_update(text).finalize().into_bytes().to_vec()
    }
}

impl Scram for Scram512 {
    fn hash(bytes: &[u8]) -> Vec<u8> {
        Sha512::digest(bytes).to_vec()
    }

    fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
        let mac = Hmac::<Sha512>::new_from_slice(key).expect("a key of any length");
        mac.chain_update(text).finalize().into_bytes().to_vec()
    }
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(one, other)| one ^ other).collect()
}

/// `Hi(password, salt, iterations)`.
fn salted<S: Scram>(password: &str) -> Vec<u8> {
    let mut last = S::hmac(password.as_bytes(), &[SALT, &[0, 0, 0, 1]].concat());
    let mut all = last.clone();
    for _ in 1..ITERATIONS {
        last = S::hmac(password.as_bytes(), &last);
        all = xor(&all, &last);
    }
    all
}

/// The server's signature, if the client's proof is right.
fn verify<S: Scram>(
    password: &str,
    (messages, nonce): (&str, &str),
    last: &str,
) -> Result<Vec<u8>, &'static str> {
    let (without_proof, proof) = last.split_once(",p=").ok_or(INVALID)?;
    let proof = BASE64.decode(proof).map_err(|_| INVALID)?;
    let salted = salted::<S>(password);
    let stored = S::hash(&S::hmac(&salted, b"Client Key"));
    let message = format!("{messages},{without_proof}");
    let client_key = xor(&proof, &S::hmac(&stored, message.as_bytes()));
    if without_proof != format!("c=biws,r={nonce}") || S::hash(&client_key) != stored {
        return Err(INVALID);
    }
    let signature = S::hmac(&S::hmac(&salted, b"Server Key"), message.as_bytes());
    Ok(format!("v={}", BASE64.encode(signature)).into_bytes())
}
