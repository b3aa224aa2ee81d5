//! Clients that hold a place without a word, or more places than they may; bytes that are nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tributary_tests::authority::Authority;
use tributary_tests::daemon::Daemon;
use tributary_tests::{ports, scratch, wait};

use super::TRIBUTARY;
use super::client::{ANSWER_MAX, Peer, expect_service, options, over_tls, tls};

fn open(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    Ok(stream)
}

/// The gateway closes the connection.
fn expect_close(mut stream: TcpStream) -> Result<()> {
    let mut got = [0; 256];
    loop {
        match stream.read(&mut got) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error).context("the connection goes on"),
        }
    }
}

#[test]
fn who_says_nothing_loses_the_place() -> Result<()> {
    let authority = Authority::new()?;
    let tls_section = authority.server("gateway", "localhost")?.section("");
    let [plain, over, ws] = [ports::free()?, ports::free()?, ports::free()?];
    let timeout = "connect_timeout = \"1s\"\nmax_connections = 20\n";
    let sections = format!(
        "[[listener]]\naddress = \"127.0.0.1:{plain}\"\n{timeout}\
         [[listener]]\naddress = \"127.0.0.1:{over}\"\n{timeout}{tls_section}\
         [[listener]]\naddress = \"127.0.0.1:{ws}\"\n{timeout}websocket = true\n"
    );
    let _daemon = Daemon::start(TRIBUTARY, &sections)?;
    let begun = Instant::now();
    let mut silent = Vec::new();
    // A begin of a CONNECT, of a handshake, of a request: each the first half, or nothing at all.
    let begins = [(plain, "\x10\x20"), (over, "\x16\x03\x01"), (ws, "GET /mqtt HTTP/1.1\r\n")];
    for (port, begin) in begins {
        for half in ["", begin] {
            let mut stream = open(port)?;
            stream.write_all(half.as_bytes())?;
            silent.push(stream);
        }
    }
    // Meanwhile the others are served.
    expect_service(options("plain", plain), "a")?;
    expect_service(over_tls(options("over", over), tls(&authority, None)?), "b")?;
    for stream in silent {
        expect_close(stream)?;
    }
    ensure!(begun.elapsed().as_secs() >= 1, "each had its time");
    // All twenty places taken by silence: the next one waits for one of them, and is served.
    let crowd = (0..20).map(|_| open(plain)).collect::<Result<Vec<_>>>()?;
    expect_service(options("late", plain), "c")?;
    drop(crowd);
    Ok(())
}

#[test]
fn one_byte_at_a_time_is_served() -> Result<()> {
    let ws = ports::free()?;
    let _daemon = Daemon::start(
        TRIBUTARY,
        &format!("[[listener]]\naddress = \"127.0.0.1:{ws}\"\nwebsocket = true\n"),
    )?;
    let mut stream = open(ws)?;
    stream.set_nodelay(true)?;
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    // A CONNECT in two frames with a ping in between, masked with zeros.
    let frames =
        b"\x02\x85\0\0\0\0\x10\x0D\0\x04M\x89\x81\0\0\0\0?\x80\x8A\0\0\0\0QTT\x04\x02\0\x3C\0\x01x";
    for byte in request.as_bytes().iter().chain(frames) {
        stream.write_all(&[*byte])?;
    }
    let mut got = Vec::new();
    let mut part = [0; 256];
    let wanted = b"\x8A\x01?\x82\x04\x20\x02\0\0";
    while !got.ends_with(wanted) {
        let count = stream.read(&mut part)?;
        ensure!(count > 0, "it was closed behind {got:?}");
        got.extend_from_slice(&part[..count]);
    }
    Ok(())
}

#[test]
fn an_address_has_as_many_places_as_it_may() -> Result<()> {
    let port = ports::free()?;
    let _daemon = Daemon::start(
        TRIBUTARY,
        &format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\nmax_connections_per_address = 3\n"),
    )?;
    let peers: Vec<Peer> = (0..3)
        .map(|index| Peer::enter(options(&format!("c{index}"), port)))
        .collect::<Result<_>>()?;
    expect_close(open(port)?)?;
    drop(peers);
    wait::until("a place", ANSWER_MAX, || {
        Ok(Peer::enter(options("next", port)).is_ok().then_some(()))
    })
}

/// Random bytes, and good begins with random ends, on every kind of listener at once.
#[test]
fn bytes_that_are_nothing_harm_nobody() -> Result<()> {
    let mut random = scratch::random("bytes at the door")?;
    let authority = Authority::new()?;
    let tls_section = authority.server("gateway", "localhost")?.section("");
    let [plain, over, ws, proxied] =
        [ports::free()?, ports::free()?, ports::free()?, ports::free()?];
    let listener = |port: u16| format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\n");
    let sections = [
        listener(plain),
        listener(over) + &tls_section,
        listener(ws) + "websocket = true\n",
        listener(proxied) + "proxy_protocol = true\nanonymous = true\n",
    ];
    let daemon = Daemon::start(TRIBUTARY, &sections.concat())?;
    let begins: [(u16, &[u8]); 4] = [
        (plain, b"\x10\x0D\0\x04MQTT"),
        (over, b"\x16\x03\x01\x02\0\x01\0\x01\xFC\x03\x03"),
        (ws, b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n"),
        (proxied, b"\r\n\r\n\0\r\nQUIT\n\x21\x11"),
    ];
    for _ in 0..30 {
        for (port, begin) in begins {
            let mut bytes = if random.bool() { begin.to_vec() } else { Vec::new() };
            bytes.extend((0..random.usize(1..3_000)).map(|_| random.u8(..)));
            let mut stream = open(port)?;
            match stream.write_all(&bytes) {
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                other => other?,
            }
        }
    }
    expect_service(options("after", daemon.port()), "a")?;
    expect_service(over_tls(options("tls", over), tls(&authority, None)?), "b")
}
