//! Wills: when they are published, and when not.

use core::time::Duration;
use std::time::Instant;

use anyhow::{Result, ensure};
use tributary_core::record::Qos;
use tributary_mqtt::Reason;
use tributary_mqtt::codec::connect::{Connect, LastWill};
use tributary_mqtt::codec::property::{Carrier, Properties, Property};
use tributary_tests::daemon::Daemon;
use tributary_tests::wait;
use tributary_tests::wire::{Message, Wire, checked, connect, connect_5, encoded};

use super::TRIBUTARY;

const WILL: LastWill<'static> = LastWill {
    qos: Qos::AtLeastOnce,
    retain: false,
    properties: Properties::NONE,
    topic: "wills",
    payload: b"gone",
};

fn reader(daemon: &Daemon) -> Result<Wire> {
    let (mut reader, _) = Wire::open(daemon.port(), &connect_5("reader", Properties::NONE))?;
    reader.subscribe("wills", Qos::ExactlyOnce)?;
    Ok(reader)
}

#[test]
fn a_will_is_for_those_who_do_not_take_leave() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let mut reader = reader(&daemon)?;
    for asked in [connect("c"), connect_5("d", Properties::NONE)] {
        let asked = Connect { will: Some(WILL), ..asked };
        let (wire, _) = Wire::open(daemon.port(), &asked)?;
        wire.leave(Reason::Success, Properties::NONE)?;
        reader.is_quiet()?;
        let (wire, _) = Wire::open(daemon.port(), &asked)?;
        drop(wire);
        ensure!(reader.take()?.payload == "gone");
        // Who breaks the protocol, and who falls silent, has one too.
        let (mut wire, _) = Wire::open(daemon.port(), &asked)?;
        wire.send_bytes(b"\0\0")?;
        ensure!(reader.take()?.payload == "gone");
        let silent = Connect { keep_alive_s: 1, ..asked };
        let (_wire, _) = Wire::open(daemon.port(), &silent)?;
        ensure!(reader.take()?.payload == "gone");
    }
    // MQTT 5 may take leave and still have it published.
    let asked = Connect { will: Some(WILL), ..connect_5("d", Properties::NONE) };
    let (wire, _) = Wire::open(daemon.port(), &asked)?;
    wire.leave(Reason::DisconnectWithWill, Properties::NONE)?;
    ensure!(reader.take()?.payload == "gone");
    reader.is_quiet()
}

#[test]
fn a_will_says_what_its_client_said() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let mut reader = reader(&daemon)?;
    let said = [
        Property::PayloadFormatText(true),
        Property::ContentType("text/plain"),
        Property::ResponseTopic("answers"),
        Property::CorrelationData(b"7"),
        Property::User("b", "1"),
        Property::User("a", "2"),
        Property::User("b", "0"),
    ];
    let properties = encoded(&said);
    let properties = checked(Carrier::Will, &properties);
    let will = LastWill { qos: Qos::ExactlyOnce, retain: true, properties, ..WILL };
    let asked = Connect { will: Some(will), ..connect_5("c", Properties::NONE) };
    drop(Wire::open(daemon.port(), &asked)?);
    let check = |message: &Message| {
        message.properties().eq(said) && message.delivery.qos() == Qos::ExactlyOnce
    };
    let message = reader.take()?;
    ensure!(check(&message) && !message.retain, "{message:?}");
    // And it is retained, as it was to be.
    let (mut late, _) = Wire::open(daemon.port(), &connect_5("late", Properties::NONE))?;
    late.subscribe("wills", Qos::ExactlyOnce)?;
    let message = late.take()?;
    ensure!(check(&message) && message.retain, "{message:?}");
    Ok(())
}

/// With its delay, or with its session if that ends before.
#[test]
fn a_will_comes_when_it_is_due() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let mut reader = reader(&daemon)?;
    for (delay_s, expiry_s, due_ms) in [(1, 60, 1_000), (60, 1, 1_000), (60, 0, 0)] {
        let delay = encoded(&[Property::WillDelay(delay_s)]);
        let will = LastWill { properties: checked(Carrier::Will, &delay), ..WILL };
        let expiry = encoded(&[Property::SessionExpiry(expiry_s)]);
        let properties = checked(Carrier::Connect, &expiry);
        let asked = Connect { will: Some(will), ..connect_5("c", properties) };
        drop(Wire::open(daemon.port(), &asked)?);
        let begun = Instant::now();
        ensure!(reader.take()?.payload == "gone");
        let took = u64::try_from(begun.elapsed().as_millis())?;
        ensure!((due_ms..due_ms + 3_000).contains(&(took + 50)), "{delay_s} {expiry_s}: {took} ms");
    }
    Ok(())
}

#[test]
fn a_client_that_comes_back_in_time_has_no_will_published() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let mut reader = reader(&daemon)?;
    let delay = encoded(&[Property::WillDelay(1)]);
    let will = LastWill { properties: checked(Carrier::Will, &delay), ..WILL };
    let expiry = encoded(&[Property::SessionExpiry(60)]);
    let properties = checked(Carrier::Connect, &expiry);
    let asked = Connect { will: Some(will), ..connect_5("c", properties) };
    drop(Wire::open(daemon.port(), &asked)?);
    let back = Connect { clean_start: false, will: None, ..asked };
    let (_wire, present) = Wire::open(daemon.port(), &back)?;
    ensure!(present);
    wait::pass(Duration::from_millis(1_500));
    reader.is_quiet()
}
