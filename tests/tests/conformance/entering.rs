//! The first packets of a connection, and what is announced.

use anyhow::{Result, ensure};
use tributary_mqtt::codec::Packet;
use tributary_mqtt::codec::connect::Connect;
use tributary_mqtt::codec::property::{Properties, Property};
use tributary_mqtt::{Reason, Version};
use tributary_tests::daemon::Daemon;
use tributary_tests::wire::{Wire, connect, connect_5};

use super::TRIBUTARY;

/// The client identifier that was assigned.
fn assigned(wire: &tributary_tests::wire::Welcome) -> Option<String> {
    wire.properties().find_map(|property| match property {
        Property::AssignedClientIdentifier(name) => Some(name.to_owned()),
        _ => None,
    })
}

#[test]
fn who_has_no_name_gets_one() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    // In 3.1.1 only for a session that ends with the connection.
    let (mut wire, welcome) = Wire::enter(daemon.port(), &connect(""))?;
    ensure!(welcome.reason == Reason::ClientIdNotValid && wire.end()?.is_none(), "{welcome:?}");
    let fresh = Connect { clean_start: true, ..connect("") };
    let (_first, present) = Wire::open(daemon.port(), &fresh)?;
    let (_second, again) = Wire::open(daemon.port(), &fresh)?;
    ensure!(!present && !again, "neither has the other's session");
    // MQTT 5 is told the name, one of its own for each.
    let mut names = Vec::new();
    let mut wires = Vec::new();
    for clean_start in [true, true, false] {
        let asked = Connect { clean_start, ..connect_5("", Properties::NONE) };
        let (wire, welcome) = Wire::enter(daemon.port(), &asked)?;
        ensure!(welcome.reason == Reason::Success && !welcome.present, "{welcome:?}");
        names.extend(assigned(&welcome));
        wires.push(wire);
    }
    names.sort_unstable();
    names.dedup();
    ensure!(names.len() == 3 && !names.iter().any(String::is_empty), "{names:?}");
    // By that name it is known.
    let (_taker, _) = Wire::open(daemon.port(), &connect(&names[0]))?;
    let ended = wires.iter_mut().filter_map(|wire| wire.ping().err()).count();
    ensure!(ended == 1, "one was taken over");
    Ok(())
}

#[test]
fn what_is_no_begin_is_closed() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let begins: [&[u8]; 4] = [
        // No CONNECT; a name that is none; reserved flags; NUL in the client identifier.
        b"\xC0\0",
        b"\x10\x0D\0\x04MQTX\x04\x02\0\x3C\0\x01c",
        b"\x10\x0D\0\x04MQTT\x04\x03\0\x3C\0\x01c",
        b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01\0",
    ];
    for begin in begins {
        let mut wire = Wire::raw(daemon.port(), Version::V311)?;
        wire.send_bytes(begin)?;
        ensure!(wire.end()?.is_none(), "{begin:?}");
    }
    // A version that is not spoken is told so, in words that the client may understand.
    for (level, answer) in [(3, &b"\x20\x02\0\x01"[..]), (6, b"\x20\x03\0\x84\0")] {
        let mut wire = Wire::raw(daemon.port(), Version::V311)?;
        wire.send_bytes(&[&b"\x10\x0D\0\x04MQTT"[..], &[level], b"\x02\0\x3C\0\x01c"].concat())?;
        ensure!(wire.rest()? == answer, "level {level}");
    }
    // The old protocol by its own name is spoken.
    let mut old = Wire::raw(daemon.port(), Version::V311)?;
    old.send_bytes(b"\x10\x0F\0\x06MQIsdp\x03\x02\0\x3C\0\x01c")?;
    let accepted = |packet: &Packet<'_>| matches!(packet, Packet::ConnAck(connack) if !connack.reason.is_failure());
    old.next(|packet| accepted(packet).then_some(()))
}

#[test]
fn a_second_connect_ends_the_connection() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    for (asked, told) in
        [(connect("c"), None), (connect_5("c", Properties::NONE), Some(Reason::ProtocolError))]
    {
        let (mut wire, _) = Wire::open(daemon.port(), &asked)?;
        wire.send(&Packet::Connect(asked))?;
        ensure!(wire.end()? == told, "{told:?}");
    }
    Ok(())
}

#[test]
fn whoever_comes_with_the_same_name_takes_over() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    for (asked, told) in
        [(connect("c"), None), (connect_5("c", Properties::NONE), Some(Reason::SessionTakenOver))]
    {
        let (mut old, _) = Wire::open(daemon.port(), &asked)?;
        let (mut new, _) = Wire::open(daemon.port(), &asked)?;
        ensure!(old.end()? == told, "{told:?}");
        new.ping()?;
    }
    Ok(())
}

#[test]
fn the_limits_of_the_server_hold() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let asked = connect_5("c", Properties::NONE);
    let (_, welcome) = Wire::enter(daemon.port(), &asked)?;
    let mut packet_bytes = None;
    let mut receive_maximum = None;
    for property in welcome.properties() {
        match property {
            Property::MaximumPacketSize(bytes) => packet_bytes = Some(bytes.get()),
            Property::ReceiveMaximum(count) => receive_maximum = Some(count.get()),
            _ => {}
        }
    }
    let (Some(packet_bytes), Some(receive_maximum)) = (packet_bytes, receive_maximum) else {
        anyhow::bail!("not all is announced: {welcome:?}");
    };
    // One byte more than it takes, of which the header is enough.
    let (mut wire, _) = Wire::open(daemon.port(), &asked)?;
    let length = packet_bytes + 1 - 4;
    let digits = [length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]
        .map(|digit| digit.to_le_bytes()[0]);
    wire.send_bytes(&[&[0x30][..], &digits].concat())?;
    ensure!(wire.end()? == Some(Reason::PacketTooLarge));
    // One message at QoS 2 more than may be under way: its PUBREL never comes.
    let (mut wire, _) = Wire::open(daemon.port(), &asked)?;
    let mut bytes = Vec::new();
    for number in 1..=receive_maximum + 1 {
        let [high, low] = number.to_be_bytes();
        bytes.extend_from_slice(&[0x34, 7, 0, 1, b't', high, low, 0, b'x']);
    }
    wire.send_bytes(&bytes)?;
    ensure!(wire.end()? == Some(Reason::ReceiveMaximumExceeded));
    Ok(())
}
