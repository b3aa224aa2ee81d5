//! A token by client credentials: one HTTPS request to an identity provider (RFC 6749, section 4.4).

use core::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::dial::{Dialer, Stream, Trace};
use crate::config::upstream::Url;

/// How long a provider may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 256 << 10;
const HEADERS_MAX: usize = 64;
/// How long a token is taken to hold whose provider does not say.
const LIFETIME_DEFAULT_S: u64 = 60;
const LIFETIME_MAX_S: u64 = 24 * 3600;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The token endpoint.
    pub url: &'a Url,
    /// Who asks.
    pub client_id: &'a str,
    /// Its secret.
    pub secret: &'a SecretString,
    /// What for.
    pub scope: Option<&'a str>,
}

/// What a provider gave.
#[derive(Debug)]
pub struct Granted {
    /// The token.
    pub token: SecretString,
    /// How long it holds.
    pub lifetime: Duration,
}

/// The parts of an answer that matter, of a good one and of an error (section 5).
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    expires_in: Option<u64>,
    error: Option<String>,
    error_description: Option<String>,
}

/// Asks the provider.
///
/// # Errors
/// Why there is no token, for people.
pub async fn fetch(dialer: &Dialer, asked: Asked<'_>) -> Result<Granted, String> {
    let Url { host, port, path } = asked.url;
    let failed = |why: String| format!("no token from https://{host}:{port}{path}: {why}");
    let mut trace = Trace::default();
    let stream = dialer.dial(host, *port, &mut trace).await.map_err(|e| failed(e.to_string()))?;
    let answered = timeout(ANSWER_MAX, exchange(stream, request(asked)));
    let answer = match answered.await {
        Err(_) => return Err(failed("it does not answer".to_owned())),
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Ok(Ok(answer)) => answer,
    };
    let (status, body) = read_answer(&answer).ok_or_else(|| failed("no HTTP answer".to_owned()))?;
    granted(status, &body).map_err(failed)
}

fn request(asked: Asked<'_>) -> SecretString {
    let Asked { url: Url { host, port, path }, client_id, secret, scope } = asked;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let pair = format!("{}:{}", encoded(client_id), encoded(secret.expose_secret()));
    let mut form = "grant_type=client_credentials".to_owned();
    if let Some(scope) = scope {
        form.push_str("&scope=");
        form.push_str(&encoded(scope));
    }
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Basic {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nAccept: application/json\r\n\
         User-Agent: tributary\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{form}",
        BASE64.encode(pair),
        form.len(),
    );
    text.into()
}

/// As in forms: unreserved characters as they are, all others as their bytes.
fn encoded(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte| {
        if unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(one).collect()
}

async fn exchange(mut stream: Box<dyn Stream>, request: SecretString) -> std::io::Result<Vec<u8>> {
    stream.write_all(request.expose_secret().as_bytes()).await?;
    let mut answer = Vec::new();
    match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await {
        // Many a server closes without saying good-bye in TLS.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(answer),
        ended => ended.map(|_| answer),
    }
}

/// Status and body. A body without its end is no answer.
fn read_answer(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(answer).ok()? else { return None };
    let body = &answer[length..];
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| core::str::from_utf8(header.value).ok()).map(str::trim)
    };
    let body = if header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        unchunked(body)?
    } else if let Some(length) = header("content-length") {
        body.get(..length.parse().ok()?)?.to_vec()
    } else {
        body.to_vec()
    };
    Some((head.code?, body))
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let httparse::Status::Complete((at, size)) = httparse::parse_chunk_size(rest).ok()? else {
            return None;
        };
        if size == 0 {
            return Some(body);
        }
        let size = usize::try_from(size).ok()?;
        let chunk = rest.get(at..)?;
        body.extend_from_slice(chunk.get(..size)?);
        rest = chunk.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

fn granted(status: u16, body: &[u8]) -> Result<Granted, String> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|_| format!("it answers {status}, and not with JSON"))?;
    match answer.access_token {
        Some(token) if status == 200 => {
            let seconds = answer.expires_in.unwrap_or(LIFETIME_DEFAULT_S).min(LIFETIME_MAX_S);
            Ok(Granted { token: token.into(), lifetime: Duration::from_secs(seconds) })
        }
        _ => {
            let error = answer.error.unwrap_or_else(|| "no access_token in it".to_owned());
            let more = answer.error_description.map(|text| format!(" ({text})"));
            let words = format!("it answers {status}: {error}{}", more.unwrap_or_default());
            Err(words.chars().filter(|c| !c.is_control()).take(300).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_a_form_with_a_login() {
        let url = Url { host: "login".to_owned(), port: 443, path: "/token".to_owned() };
        let secret = SecretString::from("pen/cil");
        let asked = Asked { url: &url, client_id: "gw 1", secret: &secret, scope: Some("a b+c") };
        let text = request(asked);
        let text = text.expose_secret();
        let login = BASE64.encode("gw%201:pen%2Fcil");
        assert!(text.starts_with("POST /token HTTP/1.1\r\nHost: login:443\r\n"), "{text}");
        assert!(text.contains(&format!("Authorization: Basic {login}\r\n")), "{text}");
        assert!(text.ends_with("\r\n\r\ngrant_type=client_credentials&scope=a%20b%2Bc"), "{text}");
    }

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                        5\r\n{\"a\":\r\n3;x=y\r\n\"b\"\r\n1\r\n}\r\n0\r\n\r\n";
        assert_eq!(read_answer(chunked), Some((200, b"{\"a\":\"b\"}".to_vec())));
        for end in 0..chunked.len() - 5 {
            assert_eq!(read_answer(&chunked[..end]), None, "{end}");
        }
        let sized = b"HTTP/1.1 401 no\r\ncontent-length: 2\r\n\r\n{}more";
        assert_eq!(read_answer(sized), Some((401, b"{}".to_vec())));
        assert_eq!(read_answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"), None);
        assert_eq!(read_answer(b"HTTP/1.0 200 OK\r\n\r\n{}"), Some((200, b"{}".to_vec())));
        let huge = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n";
        assert_eq!(read_answer(huge), None);
    }

    #[test]
    fn a_refusal_is_told_in_the_providers_words() {
        let good = granted(200, br#"{"access_token":"t","expires_in":300,"token_type":"x"}"#);
        let good = good.expect("a token");
        assert_eq!((good.token.expose_secret(), good.lifetime.as_secs()), ("t", 300));
        let refused = br#"{"error":"invalid_client","error_description":"wrong secret\u0007"}"#;
        let why = granted(401, refused).expect_err("none");
        assert_eq!(why, "it answers 401: invalid_client (wrong secret)");
        assert!(granted(502, b"<html>").is_err_and(|why| why.contains("502")));
        assert!(granted(200, b"{}").is_err_and(|why| why.contains("no access_token")));
        assert!(!format!("{good:?}").contains("\"t\""));
    }
}
