//! TCP, TLS, mutual TLS, WebSocket and the PROXY protocol, side by side in one daemon.

use core::net::Ipv6Addr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rumqttc::{MqttOptions, TlsConfiguration, Transport};
use rustls::ClientConnection;
use tributary_tests::authority::Authority;
use tributary_tests::daemon::Daemon;
use tributary_tests::{ports, wait};

use super::TRIBUTARY;
use super::client::{ANSWER_MAX, Peer, expect_refusal, expect_service, options, over_tls, tls};

#[test]
fn one_daemon_serves_every_transport() -> Result<()> {
    let authority = Authority::new()?;
    let section = authority.server("gateway", "localhost")?.section("");
    let [tls_port, ws, wss, six] = [ports::free()?, ports::free()?, ports::free()?, ports::free()?];
    let daemon = Daemon::start(
        TRIBUTARY,
        &format!(
            "[[listener]]\naddress = \"127.0.0.1:{tls_port}\"\n{section}\
             [[listener]]\naddress = \"127.0.0.1:{ws}\"\nwebsocket = true\n\
             [[listener]]\naddress = \"127.0.0.1:{wss}\"\nwebsocket = true\n{section}\
             [[listener]]\naddress = \"[::1]:{six}\"\n"
        ),
    )?;
    let mut hearer = Peer::enter(options("hearer", daemon.port()))?;
    ensure!(hearer.subscribe("plant/#")?);
    expect_service(over_tls(options("tls", tls_port), tls(&authority, None)?), "plant/tls")?;
    let mut over_ws = MqttOptions::new("ws", format!("ws://localhost:{ws}/mqtt"), ws);
    over_ws.set_transport(Transport::Ws);
    expect_service(over_ws, "plant/ws")?;
    let mut over_wss = MqttOptions::new("wss", format!("wss://localhost:{wss}/mqtt"), wss);
    over_wss.set_transport(Transport::Wss(tls(&authority, None)?));
    expect_service(over_wss, "plant/wss")?;
    expect_service(MqttOptions::new("six", Ipv6Addr::LOCALHOST.to_string(), six), "plant/six")?;
    // A session is the same behind each of them: all meet at one hub.
    for name in ["tls", "ws", "wss", "six"] {
        ensure!(hearer.message()? == (format!("plant/{name}"), name.to_owned()));
    }
    // A packet of many records and frames comes through whole.
    let mut large = options("large", tls_port);
    large.set_max_packet_size(300_000, 300_000);
    let mut large = Peer::enter(over_tls(large, tls(&authority, None)?))?;
    let payload = "x".repeat(200_000);
    large.publish("plant/large", &payload)?;
    ensure!(daemon.events()?.iter().any(|event| event.payload == payload));
    Ok(())
}

/// CONNECT with a will, which the log has to know of first, PUBLISH, DISCONNECT and the end of TLS in one flight.
#[test]
fn what_was_said_before_the_end_of_tls_is_heard() -> Result<()> {
    const SAID: &[u8] = b"\x10\x13\0\x04MQTT\x04\x06\0\x3C\0\x01x\0\x01w\0\x01g\
        \x30\x04\0\x01ax\
        \xE0\0";
    let (authority, port) = (Authority::new()?, ports::free()?);
    let section = authority.server("gateway", "localhost")?.section("");
    let listener = format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\n{section}");
    let daemon = Daemon::start(TRIBUTARY, &listener)?;
    let TlsConfiguration::Rustls(config) = tls(&authority, None)? else { bail!("it is rustls") };
    for count in 1..=20 {
        let mut session = ClientConnection::new(Arc::clone(&config), "localhost".try_into()?)?;
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        session.complete_io(&mut stream)?;
        session.writer().write_all(SAID)?;
        session.send_close_notify();
        while session.wants_write() {
            session.write_tls(&mut stream)?;
        }
        stream.read_to_end(&mut Vec::new())?;
        let topics: Vec<String> = wait::until("what it published", ANSWER_MAX, || {
            let topics: Vec<_> = daemon.events()?.into_iter().map(|event| event.topic).collect();
            Ok((topics.len() >= count).then_some(topics))
        })?;
        ensure!(topics == vec!["a"; count], "{topics:?}");
    }
    Ok(())
}

/// Of what a subscriber gets TLS takes 64 KiB at once: one message may be longer, and so may a backlog.
#[test]
fn long_messages_and_backlogs_come_through_tls() -> Result<()> {
    let authority = Authority::new()?;
    let section = authority.server("gateway", "localhost")?.section("");
    let [port, wss] = [ports::free()?, ports::free()?];
    let daemon = Daemon::start(
        TRIBUTARY,
        &format!(
            "[[listener]]\naddress = \"127.0.0.1:{port}\"\n{section}\
             [[listener]]\naddress = \"127.0.0.1:{wss}\"\nwebsocket = true\n{section}"
        ),
    )?;
    let lasting = |mut options: MqttOptions| {
        options.set_max_packet_size(300_000, 300_000).set_clean_session(false);
        options
    };
    let over_tls = || anyhow::Ok(lasting(over_tls(options("tls", port), tls(&authority, None)?)));
    let over_wss = || {
        let mut options = MqttOptions::new("wss", format!("wss://localhost:{wss}/mqtt"), wss);
        options.set_transport(Transport::Wss(tls(&authority, None)?));
        anyhow::Ok(lasting(options))
    };
    let payload = |number: usize| number.to_string().repeat(200_000);
    let mut device = options("device", daemon.port());
    device.set_max_packet_size(300_000, 300_000);
    let mut device = Peer::enter(device)?;

    let mut hearers = [Peer::enter(over_tls()?)?, Peer::enter(over_wss()?)?];
    for hearer in &mut hearers {
        ensure!(hearer.subscribe("plant/#")?);
    }
    device.publish("plant/large", &payload(0))?;
    for hearer in &mut hearers {
        ensure!(hearer.message()?.1 == payload(0), "one message comes whole");
        // And it is acknowledged.
        hearer.publish("elsewhere", "x")?;
    }
    drop(hearers);
    for number in 1..4 {
        device.publish("plant/large", &payload(number))?;
    }
    for (number, part) in (0..300).map(|number| (number, "x".repeat(1_000))) {
        device.publish(&format!("plant/{number}"), &part)?;
    }
    for options in [over_tls()?, over_wss()?] {
        let mut hearer = Peer::enter(options)?;
        for number in 1..4 {
            ensure!(hearer.message()?.1 == payload(number), "message {number} of a backlog");
        }
        for number in 0..300 {
            ensure!(hearer.message()?.0 == format!("plant/{number}"), "message {number}");
        }
    }
    Ok(())
}

#[test]
fn clients_do_not_take_another_gateway_for_this_one() -> Result<()> {
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    let [good, expired, other] = [ports::free()?, ports::free()?, ports::free()?];
    let listener = |port: u16, section: String| {
        format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\n{section}")
    };
    let sections = [
        listener(good, authority.server("good", "localhost")?.section("")),
        listener(expired, authority.expired_server("expired", "localhost")?.section("")),
        listener(other, authority.expired_server("other", "elsewhere.example")?.section("")),
    ];
    let daemon = Daemon::start(TRIBUTARY, &sections.concat())?;
    let trusting = || tls(&authority, None);
    expect_service(over_tls(options("fine", good), trusting()?), "a")?;
    expect_refusal(over_tls(options("unknown", good), tls(&stranger, None)?), "UnknownIssuer")?;
    expect_refusal(over_tls(options("late", expired), trusting()?), "Expired")?;
    expect_refusal(options("plain", good), "")?;
    // The others are served all the same.
    expect_service(options("after", daemon.port()), "b")
}

#[test]
fn a_certificate_is_the_users_name() -> Result<()> {
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    let more = format!(", client_ca = \"{}\"", authority.cert().display());
    let pair = authority.server("gateway", "localhost")?;
    let acl = authority.dir().join("acl");
    fs::write(&acl, "pattern readwrite plant/%u/#\n")?;
    let rest = format!("acl = \"{}\"\n", acl.display());
    let [common, alternative] = [ports::free()?, ports::free()?];
    let listener = |port: u16, more: &str| {
        let tls = pair.section(more);
        format!("[[listener]]\naddress = \"0.0.0.0:{port}\"\n{tls}{rest}")
    };
    let by_san = format!("{more}, user_from = \"alternative-name\"");
    let sections = listener(common, &more) + &listener(alternative, &by_san);
    let _daemon = Daemon::start(TRIBUTARY, &sections)?;

    let press = authority.client("press-3", false)?;
    let press = || tls(&authority, Some(&press));
    expect_service(over_tls(options("c1", common), press()?), "plant/press-3/state")?;
    let topic = "plant/press-3.plant.example/state";
    expect_service(over_tls(options("c2", alternative), press()?), topic)?;
    let mut peer = Peer::enter(over_tls(options("c3", common), press()?))?;
    ensure!(!peer.subscribe("plant/press-4/#")?, "that is another's");
    ensure!(peer.publish("plant/press-4/state", "x").is_err(), "that is another's");

    expect_refusal(over_tls(options("bare", common), tls(&authority, None)?), "")?;
    let late = authority.client("late", true)?;
    expect_refusal(over_tls(options("late", common), tls(&authority, Some(&late))?), "")?;
    let foreign = stranger.client("press-3", false)?;
    expect_refusal(over_tls(options("foreign", common), tls(&authority, Some(&foreign))?), "")
}

#[test]
fn certificates_are_renewed_without_a_restart() -> Result<()> {
    let (old, new) = (Authority::new()?, Authority::new()?);
    let pair = old.server("gateway", "localhost")?;
    let port = ports::free()?;
    let section = pair.section("");
    let daemon = Daemon::start(
        TRIBUTARY,
        &format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\n{section}"),
    )?;
    let mut early = Peer::enter(over_tls(options("early", port), tls(&old, None)?))?;

    // A certificate without its key is no pair: the old one goes on.
    let next = new.server("gateway", "localhost")?;
    fs::copy(&next.cert, &pair.cert)?;
    wait::until("the complaint", ANSWER_MAX, || {
        Ok(daemon.log_lines()?.contains("stay as they were").then_some(()))
    })?;
    expect_service(over_tls(options("between", port), tls(&old, None)?), "a")?;

    fs::copy(&next.key, &pair.key)?;
    wait::until("the new certificate", ANSWER_MAX, || {
        Ok(Peer::enter(over_tls(options("late", port), tls(&new, None)?)).is_ok().then_some(()))
    })?;
    expect_refusal(over_tls(options("stale", port), tls(&old, None)?), "UnknownIssuer")?;
    // Who was inside stays.
    early.publish("a", "still here")
}

/// Signature, version 2 and PROXY, TCP over IPv4, from 10.1.2.`last`.
fn proxy_header(last: u8) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C".to_vec();
    header.extend([10, 1, 2, last, 10, 0, 0, 1, 0, 80, 7, 91]);
    header
}

/// CONNECT of 3.1.1, clean session, client `x`.
const CONNECT: &[u8] = b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01x";

/// What comes back for `bytes`, up to four of them; none: the connection was closed.
fn answer(port: u16, bytes: &[u8]) -> Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(bytes)?;
    let mut got = vec![0; 4];
    let count = match stream.read(&mut got) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
        other => other.context("an answer or an end")?,
    };
    got.truncate(count);
    Ok((stream, got))
}

#[test]
fn a_proxy_tells_whose_connection_it_is() -> Result<()> {
    const WELCOME: &[u8] = &[0x20, 2, 0, 0];
    let port = ports::free()?;
    let _daemon = Daemon::start(
        TRIBUTARY,
        &format!(
            "[[listener]]\naddress = \"127.0.0.1:{port}\"\nproxy_protocol = true\nanonymous = true\n\
             max_connections_per_address = 1\n"
        ),
    )?;
    let from = |last: u8| answer(port, &[&proxy_header(last), CONNECT].concat());
    let (first, welcomed) = from(1)?;
    ensure!(welcomed == WELCOME, "{welcomed:?}");
    let (_second, refused) = from(1)?;
    ensure!(refused.is_empty(), "one per address: {refused:?}");
    let (_third, welcomed) = from(2)?;
    ensure!(welcomed == WELCOME, "another address: {welcomed:?}");
    drop(first);
    wait::until("the place", ANSWER_MAX, || Ok((from(1)?.1 == WELCOME).then_some(())))?;
    let long = vec![0; 70_000];
    for hostile in [CONNECT, b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", &[0x0D; 300], &long] {
        let (_stream, refused) = answer(port, hostile)?;
        ensure!(refused.is_empty(), "{hostile:?}: {refused:?}");
    }
    ensure!(from(3)?.1 == WELCOME, "the next one is served");
    Ok(())
}
