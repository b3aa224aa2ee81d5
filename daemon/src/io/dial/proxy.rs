//! Asks a proxy for the way: SOCKS 5 (RFC 1928, RFC 1929) or HTTP `CONNECT`. The name of the broker is
//! given to the proxy as it is: a plant's network often resolves no outside names.

use core::fmt;
use core::time::Duration;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::{DialError, Step};
use crate::config::upstream::{Proxy, ProxyKind};
use crate::io::secrets;

/// How long a proxy may take.
const PROXY_MAX: Duration = Duration::from_secs(10);
/// Bytes of an HTTP proxy's answer.
const HEAD_BYTES_MAX: usize = 8 << 10;

const SOCKS_VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const LOGIN_BY_PASSWORD: u8 = 2;
const PASSWORD_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const BY_IPV4: u8 = 1;
const BY_NAME: u8 = 3;
const BY_IPV6: u8 = 4;

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ProxyKind::Socks5 => "socks5",
            ProxyKind::Http => "http",
        };
        write!(f, "{kind}://{}:{}", self.host, self.port)
    }
}

/// Has the proxy at the other end of `stream` open the way to `target`.
pub(super) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    proxy: &Proxy,
    stream: &mut S,
    target: (&str, u16),
) -> Result<(), DialError> {
    let failed =
        |why: String| DialError { step: Step::Proxy, why: format!("proxy {proxy}: {why}") };
    let login = match &proxy.login {
        None => None,
        Some((name, secret)) => Some((name.as_str(), secrets::read(secret).map_err(&failed)?)),
    };
    let asked = async {
        match proxy.kind {
            ProxyKind::Socks5 => socks5(stream, target, login).await,
            ProxyKind::Http => http(stream, target, login).await,
        }
    };
    match timeout(PROXY_MAX, asked).await {
        Err(_) => Err(failed("does not answer".to_owned())),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Ok(Ok(())) => Ok(()),
    }
}

type Login<'a> = Option<(&'a str, SecretString)>;

async fn socks5<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    (host, port): (&str, u16),
    login: Login<'_>,
) -> io::Result<()> {
    let methods: &[u8] = if login.is_some() { &[NO_LOGIN, LOGIN_BY_PASSWORD] } else { &[NO_LOGIN] };
    let mut hello = vec![SOCKS_VERSION, u8::try_from(methods.len()).unwrap_or(1)];
    hello.extend_from_slice(methods);
    stream.write_all(&hello).await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    match (chosen, login) {
        ([SOCKS_VERSION, NO_LOGIN], _) => {}
        ([SOCKS_VERSION, LOGIN_BY_PASSWORD], Some((name, password))) => {
            let mut message = vec![PASSWORD_VERSION];
            put_short(&mut message, name.as_bytes())?;
            put_short(&mut message, password.expose_secret().as_bytes())?;
            stream.write_all(&message).await?;
            let mut answer = [0; 2];
            stream.read_exact(&mut answer).await?;
            if answer[1] != 0 {
                return Err(io::Error::other("refuses user name and password"));
            }
        }
        ([SOCKS_VERSION, _], _) => return Err(io::Error::other("wants a login")),
        _ => return Err(io::Error::other("does not speak SOCKS 5")),
    }
    let mut request = vec![SOCKS_VERSION, CONNECT, 0];
    match host.parse() {
        Ok(core::net::IpAddr::V4(ip)) => {
            request.push(BY_IPV4);
            request.extend_from_slice(&ip.octets());
        }
        Ok(core::net::IpAddr::V6(ip)) => {
            request.push(BY_IPV6);
            request.extend_from_slice(&ip.octets());
        }
        Err(_) => {
            request.push(BY_NAME);
            put_short(&mut request, host.as_bytes())?;
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&request).await?;
    read_socks5_answer(stream).await
}

async fn read_socks5_answer<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<()> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    if head[0] != SOCKS_VERSION {
        return Err(io::Error::other("does not speak SOCKS 5"));
    }
    if head[1] != 0 {
        return Err(io::Error::other(match head[1] {
            2 => "does not allow this way",
            3 => "cannot reach the network",
            4 => "cannot reach the host, or does not know its name",
            5 => "found nobody listening there",
            _ => "cannot open the way",
        }));
    }
    // Where the proxy's own end is: of no use to us.
    let bound = match head[3] {
        BY_IPV4 => 4,
        BY_IPV6 => 16,
        BY_NAME => usize::from(stream.read_u8().await?),
        _ => return Err(io::Error::other("does not speak SOCKS 5")),
    };
    let mut rest = vec![0; bound + 2];
    stream.read_exact(&mut rest).await?;
    Ok(())
}

/// At most 255 bytes behind their number.
fn put_short(message: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    let length = u8::try_from(bytes.len());
    message.push(length.map_err(|_| io::Error::other("takes no name longer than 255 bytes"))?);
    message.extend_from_slice(bytes);
    Ok(())
}

async fn http<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    (host, port): (&str, u16),
    login: Login<'_>,
) -> io::Result<()> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let login = login.map_or_else(String::new, |(name, password)| {
        let pair = format!("{name}:{}", password.expose_secret());
        format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(pair))
    });
    let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{login}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head is the broker's.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_BYTES_MAX {
            return Err(io::Error::other("answers without end"));
        }
        head.push(stream.read_u8().await?);
    }
    let status = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let status = String::from_utf8_lossy(status);
    match status.split(' ').nth(1) {
        Some(code) if code.len() == 3 && code.starts_with('2') => Ok(()),
        Some("407") => Err(io::Error::other("wants a login, or another one (407)")),
        _ => Err(io::Error::other(format!("answers: {}", status.escape_debug()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked of a proxy that answers with `answers`, in turn, and what comes of it.
    async fn ask(
        kind: ProxyKind,
        target: (&str, u16),
        login: Login<'_>,
        answers: &[u8],
    ) -> (Vec<u8>, io::Result<()>) {
        let (mut ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(answers).await.expect("room for the answers");
        let result = match kind {
            ProxyKind::Socks5 => socks5(&mut ours, target, login).await,
            ProxyKind::Http => http(&mut ours, target, login).await,
        };
        drop(ours);
        let mut asked = Vec::new();
        theirs.read_to_end(&mut asked).await.expect("all that was asked");
        (asked, result)
    }

    #[tokio::test]
    async fn socks5_takes_names_addresses_and_a_login() {
        let answers = [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let (asked, result) = ask(ProxyKind::Socks5, ("kafka", 9092), None, &answers).await;
        result.expect("the way is open");
        assert_eq!(asked, b"\x05\x01\x00\x05\x01\x00\x03\x05kafka\x23\x84");

        let login = Some(("gw", "pencil".into()));
        let answers = [5, 2, 1, 0, 5, 0, 0, 3, 1, b'x', 0, 0];
        let (asked, result) = ask(ProxyKind::Socks5, ("10.0.0.1", 1), login, &answers).await;
        result.expect("the way is open");
        assert_eq!(
            asked,
            b"\x05\x02\x00\x02\x01\x02gw\x06pencil\x05\x01\x00\x01\x0a\0\0\x01\0\x01"
        );
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_or_babbles_says_so() {
        let cases: [(&[u8], &str); 6] = [
            (&[5, 255], "wants a login"),
            (&[5, 2], "wants a login"),
            (&[4, 0], "does not speak SOCKS 5"),
            (&[5, 0, 5, 5, 0, 1], "nobody listening"),
            (&[5, 0, 5, 0, 0, 9], "does not speak SOCKS 5"),
            (&[5, 0, 72, 0, 0, 1], "does not speak SOCKS 5"),
        ];
        for (answers, words) in cases {
            let (_, result) = ask(ProxyKind::Socks5, ("kafka", 9092), None, answers).await;
            let error = result.expect_err("no way").to_string();
            assert!(error.contains(words), "{error}");
        }
        let login = Some(("gw", "pencil".into()));
        let (_, result) = ask(ProxyKind::Socks5, ("kafka", 9092), login, &[5, 2, 1, 1]).await;
        let error = result.expect_err("no way").to_string();
        assert!(error.contains("refuses") && !error.contains("pencil"), "{error}");
    }

    #[tokio::test]
    async fn http_connect_takes_names_addresses_and_a_login() {
        let ok = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n";
        let login = Some(("gw", "pencil".into()));
        let (asked, result) = ask(ProxyKind::Http, ("fd00::1", 9093), login, ok).await;
        result.expect("the way is open");
        let asked = String::from_utf8(asked).expect("text");
        assert_eq!(
            asked,
            "CONNECT [fd00::1]:9093 HTTP/1.1\r\nHost: [fd00::1]:9093\r\n\
             Proxy-Authorization: Basic Z3c6cGVuY2ls\r\n\r\n"
        );
        let endless = [b'x'; 9000];
        let cases: [(&[u8], &str); 5] = [
            (&endless, "without end"),
            (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407"),
            (b"HTTP/1.1 503 no\r\n\r\n", "503 no"),
            (b"SSH-2.0\r\n\r\n", "SSH-2.0"),
            (&endless[..4000], "end of file"),
        ];
        for (answer, words) in cases {
            let (mut ours, mut theirs) = tokio::io::duplex(16_384);
            theirs.write_all(answer).await.expect("room");
            theirs.shutdown().await.expect("closed");
            let error = http(&mut ours, ("kafka", 1), None).await.expect_err("no way").to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
