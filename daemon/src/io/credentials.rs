//! Makes the credentials of a login, anew for each: reads the password, or sees to a token.

use core::time::Duration;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::{Instant, timeout};
use tributary_bridge::Credentials;

use super::dial::{Client, Dialer};
use super::oidc::{self, Asked};
use super::secrets::{self, SECRET_BYTES_MAX};
use crate::config::upstream::{Access, Sasl, Tls, Token};
use crate::sync::lock;

/// How long a command may take to print a token.
const COMMAND_MAX: Duration = Duration::from_secs(30);
/// Of a token's life, per cent during which it is used again for further connections.
const TOKEN_USED_PERCENT: u32 = 75;
/// Random bytes of a nonce; 24 characters of it.
const NONCE_BYTES: usize = 18;

/// Who we are to a cluster.
#[derive(Debug)]
pub struct Login {
    sasl: Option<Sasl>,
    /// The way to the identity provider.
    provider: Dialer,
    /// A token of the provider, and until when it is good enough.
    token: Mutex<Option<(SecretString, Instant)>>,
}

impl Login {
    /// The login of a configuration.
    #[must_use]
    pub fn new(access: &Access) -> Self {
        let ca: Option<PathBuf> = match &access.sasl {
            Some(Sasl::OauthBearer { token: Token::Provider { ca, .. }, .. }) => ca.clone(),
            _ => None,
        };
        let tls = Client::new(&Tls { ca, ..Tls::default() });
        let provider = Dialer::with_tls(tls, access.proxy.clone());
        Self { sasl: access.sasl.clone(), provider, token: Mutex::default() }
    }

    /// The credentials for one login; `fresh`: what was used before was refused.
    ///
    /// # Errors
    /// Why there are none, for people.
    pub async fn credentials(&self, fresh: bool) -> Result<Credentials, String> {
        match &self.sasl {
            None => Err("a login is wanted, but [upstream] has no `sasl`".to_owned()),
            Some(Sasl::Plain { username, password }) => Ok(Credentials::Plain {
                username: username.clone(),
                password: secrets::read(password)?,
            }),
            Some(Sasl::Scram { hash, username, password }) => Ok(Credentials::Scram {
                hash: *hash,
                username: username.clone(),
                password: secrets::read(password)?,
                nonce: nonce()?,
            }),
            Some(Sasl::OauthBearer { token, extensions }) => Ok(Credentials::OauthBearer {
                token: self.token(token, fresh).await?,
                extensions: extensions.clone(),
            }),
        }
    }

    async fn token(&self, token: &Token, fresh: bool) -> Result<SecretString, String> {
        match token {
            Token::File(path) => trimmed(&secrets::read_file(path)?),
            Token::Command(command) => run(command).await,
            Token::Provider { url, client_id, client_secret, scope, .. } => {
                let known = lock(&self.token).clone();
                if let Some((token, until)) = known.filter(|_| !fresh)
                    && Instant::now() < until
                {
                    return Ok(token);
                }
                let secret = secrets::read(client_secret)?;
                let asked = Asked { url, client_id, secret: &secret, scope: scope.as_deref() };
                let granted = oidc::fetch(&self.provider, asked).await?;
                let until = Instant::now() + granted.lifetime * TOKEN_USED_PERCENT / 100;
                *lock(&self.token) = Some((granted.token.clone(), until));
                Ok(granted.token)
            }
        }
    }
}

/// Printable characters that were never used before.
fn nonce() -> Result<String, String> {
    use base64::Engine;
    let mut random = [0; NONCE_BYTES];
    getrandom::fill(&mut random).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random))
}

/// A token has no space in it: what is around it belongs to the file.
fn trimmed(text: &SecretString) -> Result<SecretString, String> {
    let text = text.expose_secret().trim();
    if text.is_empty() { Err("the token is empty".to_owned()) } else { Ok(text.into()) }
}

/// What a command prints. Its own words about what went wrong are not shown: they may hold secrets.
async fn run(command: &[String]) -> Result<SecretString, String> {
    let [program, arguments @ ..] = command else {
        return Err("`token_command` is empty".to_owned());
    };
    let failed = |why: &str| format!("token_command {program}: {why}");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(&error.to_string()))?;
    let stdout = child.stdout.take().ok_or_else(|| failed("it has no output"))?;
    let ended = async {
        let mut text = String::new();
        let read = stdout.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).await?;
        std::io::Result::Ok((read, SecretString::from(text), child.wait().await?))
    };
    let (read, text, status) = match timeout(COMMAND_MAX, ended).await {
        Err(_) => return Err(failed("it does not end")),
        Ok(Err(error)) => return Err(failed(&error.to_string())),
        Ok(Ok(ended)) => ended,
    };
    if !status.success() {
        return Err(failed(&format!("it failed: {status}")));
    }
    if read as u64 > SECRET_BYTES_MAX {
        return Err(failed("it prints too much"));
    }
    trimmed(&text).map_err(|why| failed(&why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(sasl: Sasl) -> Login {
        Login::new(&Access { sasl: Some(sasl), ..Access::default() })
    }

    fn command(words: &[&str]) -> Login {
        let token = Token::Command(words.iter().map(|&word| word.to_owned()).collect());
        login(Sasl::OauthBearer { token, extensions: Vec::new() })
    }

    #[tokio::test]
    async fn a_command_prints_the_token() {
        let made = command(&["echo", "ab.cd"]).credentials(false).await.expect("credentials");
        let Credentials::OauthBearer { token, .. } = made else { panic!("{made:?}") };
        assert_eq!(token.expose_secret(), "ab.cd");
        for (words, said) in [
            (&["false"][..], "it failed"),
            (&["true"], "empty"),
            (&["/nowhere/token"], "/nowhere/token"),
            (&["yes"], "it failed"),
        ] {
            let why = command(words).credentials(false).await.expect_err("no token");
            assert!(why.contains(said), "{why}");
        }
    }

    #[tokio::test]
    async fn a_replaced_password_is_read_anew_and_never_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("password");
        std::fs::write(&path, "old-pencil\n").expect("written");
        let password = crate::config::upstream::Secret::File(path.clone());
        let login = login(Sasl::Plain { username: "gw".to_owned(), password });
        let read = |made: Credentials| match made {
            Credentials::Plain { password, .. } => password.expose_secret().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(read(login.credentials(false).await.expect("one")), "old-pencil");
        std::fs::write(&path, "new-pencil\n").expect("written");
        let made = login.credentials(false).await.expect("the other");
        let shown = format!("{login:?} {made:?}");
        assert!(!shown.contains("pencil"), "{shown}");
        assert_eq!(read(made), "new-pencil");
    }

    #[test]
    fn nonces_differ() {
        assert_ne!(nonce(), nonce());
        assert!(nonce().is_ok_and(|nonce| nonce.len() == 24));
    }
}
