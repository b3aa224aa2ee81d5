//! Sessions: what outlives a connection, and for how long.

use core::time::Duration;

use anyhow::{Result, ensure};
use tributary_core::record::Qos;
use tributary_mqtt::Reason;
use tributary_mqtt::codec::Packet;
use tributary_mqtt::codec::ack::Ack;
use tributary_mqtt::codec::connect::Connect;
use tributary_mqtt::codec::property::{Carrier, Properties, Property};
use tributary_mqtt::codec::publish::Delivery;
use tributary_tests::daemon::Daemon;
use tributary_tests::wire::{Message, Wire, checked, connect, connect_5, encoded};
use tributary_tests::{wait, wire};

use super::TRIBUTARY;

/// Connects with a Session Expiry Interval in seconds; whether there was a session.
fn enter(daemon: &Daemon, clean_start: bool, expiry_s: u32) -> Result<(Wire, bool)> {
    let properties = encoded(&[Property::SessionExpiry(expiry_s)]);
    let asked = connect_5("c", checked(Carrier::Connect, &properties));
    Wire::open(daemon.port(), &Connect { clean_start, ..asked })
}

/// Takes leave and says how long the session shall last from now on.
fn leave(wire: Wire, expiry_s: Option<u32>) -> Result<()> {
    let properties: Vec<_> = expiry_s.map(Property::SessionExpiry).into_iter().collect();
    let properties = encoded(&properties);
    wire.leave(Reason::Success, checked(Carrier::Disconnect, &properties))
}

#[test]
fn a_session_lasts_as_long_as_it_should() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    // It ends with the connection.
    let (mut wire, present) = enter(&daemon, true, 0)?;
    ensure!(!present);
    wire.subscribe("TopicA", Qos::ExactlyOnce)?;
    leave(wire, None)?;
    let (wire, present) = enter(&daemon, false, 2)?;
    ensure!(!present);
    leave(wire, None)?;
    // It is there for two seconds, and then no more.
    let (wire, present) = enter(&daemon, false, 2)?;
    ensure!(present);
    leave(wire, None)?;
    wait::pass(Duration::from_millis(2_500));
    let (wire, present) = enter(&daemon, false, 1)?;
    ensure!(!present, "it has expired");
    // The last word counts.
    leave(wire, Some(60))?;
    wait::pass(Duration::from_millis(1_500));
    let (wire, present) = enter(&daemon, false, 60)?;
    ensure!(present);
    leave(wire, Some(0))?;
    let (wire, present) = enter(&daemon, false, 0)?;
    ensure!(!present);
    // What ends with the connection cannot be made to last by its end.
    let properties = encoded(&[Property::SessionExpiry(60)]);
    let properties = checked(Carrier::Disconnect, &properties);
    ensure!(wire.leave(Reason::Success, properties).is_err(), "a protocol error, and said so");
    let (_wire, present) = enter(&daemon, true, 60)?;
    ensure!(!present);
    Ok(())
}

#[test]
fn an_expired_session_has_no_subscriptions() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let (mut wire, _) = enter(&daemon, true, 1)?;
    wire.subscribe("TopicA", Qos::AtLeastOnce)?;
    leave(wire, None)?;
    let (mut other, _) = Wire::open(daemon.port(), &connect("other"))?;
    other.publish_once("TopicA", "missed", false)?;
    wait::pass(Duration::from_millis(1_500));
    let (mut wire, present) = enter(&daemon, false, 60)?;
    ensure!(!present);
    other.publish_once("TopicA", "not heard", false)?;
    wire.is_quiet()
}

#[test]
fn who_is_away_gets_later_what_it_missed() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let (mut wire, _) = Wire::open(daemon.port(), &connect("c"))?;
    wire.subscribe("TopicA/#", Qos::ExactlyOnce)?;
    wire.leave(Reason::Success, Properties::NONE)?;
    let (mut other, _) = Wire::open(daemon.port(), &connect("other"))?;
    for (topic, qos) in [
        ("TopicA/B", Qos::AtMostOnce),
        ("TopicA/C", Qos::AtLeastOnce),
        ("TopicA", Qos::ExactlyOnce),
    ] {
        other.tell((topic, "missed"), qos, false, &[])?;
    }
    let (mut wire, present) = Wire::open(daemon.port(), &connect("c"))?;
    ensure!(present);
    // Messages at QoS 0 are not kept for who is away.
    ensure!(wire.take()?.topic == "TopicA/C" && wire.take()?.topic == "TopicA");
    wire.is_quiet()?;
    // A clean session has none of it.
    let fresh = Connect { clean_start: true, ..connect("c") };
    let (mut wire, present) = Wire::open(daemon.port(), &fresh)?;
    ensure!(!present);
    other.publish_once("TopicA", "x", false)?;
    wire.is_quiet()
}

/// A message that came once more.
fn is_again(message: &Message, before: &Message) -> bool {
    let dup = match message.delivery {
        Delivery::AtLeastOnce { dup, .. } | Delivery::ExactlyOnce { dup, .. } => dup,
        Delivery::AtMostOnce => false,
    };
    dup && message.delivery.packet_id() == before.delivery.packet_id()
        && message.payload == before.payload
}

#[test]
fn what_was_not_acknowledged_comes_again_and_in_order() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    for name in ["one", "two"] {
        let (mut wire, _) = Wire::open(daemon.port(), &connect(name))?;
        wire.subscribe(name, Qos::ExactlyOnce)?;
        let (mut other, _) = Wire::open(daemon.port(), &connect("other"))?;
        for (payload, qos) in
            [("1", Qos::AtLeastOnce), ("2", Qos::ExactlyOnce), ("3", Qos::AtLeastOnce)]
        {
            other.tell((name, payload), qos, false, &[])?;
        }
        let before = [wire.message()?, wire.message()?, wire.message()?];
        // By a broken connection, and by a farewell.
        if name == "one" {
            drop(wire);
        } else {
            wire.leave(Reason::Success, Properties::NONE)?;
        }
        let (mut wire, present) = Wire::open(daemon.port(), &connect(name))?;
        ensure!(present);
        for before in &before {
            let message = wire.take()?;
            ensure!(is_again(&message, before), "{before:?}: {message:?}");
        }
        wire.is_quiet()?;
    }
    Ok(())
}

/// Message expiry ends with the first PUBLISH [MQTT-4.3.3-7]; the handshake goes on [MQTT-4.3.3-13].
#[test]
fn what_has_begun_does_not_expire() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let (mut wire, _) = enter(&daemon, true, 60)?;
    wire.subscribe("TopicA", Qos::ExactlyOnce)?;
    let (mut other, _) = Wire::open(daemon.port(), &connect_5("other", Properties::NONE))?;
    let soon = [Property::MessageExpiry(1)];
    other.tell(("TopicA", "begun"), Qos::ExactlyOnce, false, &soon)?;
    let before = wire.message()?;
    // A message that comes in and expires before its release.
    let delivery = Delivery::ExactlyOnce { packet_id: wire::id(5), dup: false };
    let properties = checked(Carrier::Publish, &[2, 0, 0, 0, 1]);
    let payload = &b"x"[..];
    let publish = tributary_mqtt::codec::publish::Publish {
        delivery,
        retain: false,
        topic: "B",
        properties,
        payload,
    };
    other.send(&Packet::Publish(publish))?;
    let pubrec = |packet: &Packet<'_>| {
        matches!(packet, Packet::PubRec(ack) if !ack.reason.is_failure()).then_some(())
    };
    other.next(pubrec)?;
    drop(wire);
    wait::pass(Duration::from_millis(1_500));
    other.send(&Packet::PubRel(Ack::success(wire::id(5))))?;
    other.next(|packet| {
        matches!(packet, Packet::PubComp(ack) if !ack.reason.is_failure()).then_some(())
    })?;
    let (mut wire, present) = enter(&daemon, false, 60)?;
    ensure!(present);
    let message = wire.take()?;
    ensure!(is_again(&message, &before), "{message:?}");
    wire.is_quiet()
}

#[test]
fn silence_is_not_kept_up_for_longer_than_said() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    for (asked, told) in
        [(connect("c"), None), (connect_5("d", Properties::NONE), Some(Reason::KeepAliveTimeout))]
    {
        let begun = std::time::Instant::now();
        let (mut wire, _) = Wire::open(daemon.port(), &Connect { keep_alive_s: 1, ..asked })?;
        ensure!(wire.end()? == told, "{told:?}");
        let took = begun.elapsed().as_millis();
        ensure!((1_400..4_000).contains(&took), "{took} ms");
    }
    Ok(())
}

/// [MQTT-3.2.2-22]: who wants to be silent for longer than the listener allows is told so.
#[test]
fn a_listener_may_set_the_longest_silence() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "keep_alive_max = \"2s\"\n")?;
    let told = |keep_alive_s| {
        let asked = Connect { keep_alive_s, ..connect_5("told", Properties::NONE) };
        let (_, welcome) = Wire::enter(daemon.port(), &asked)?;
        anyhow::Ok(welcome.properties().find_map(|property| match property {
            Property::ServerKeepAlive(seconds) => Some(seconds),
            _ => None,
        }))
    };
    ensure!(told(1)?.is_none() && told(2)?.is_none(), "the client's own is short enough");
    ensure!(told(3)? == Some(2) && told(0)? == Some(2));
    // It is held to that; a client of 3.1.1, which cannot be told, to its own.
    let (mut old, _) = Wire::open(daemon.port(), &Connect { keep_alive_s: 0, ..connect("old") })?;
    let begun = std::time::Instant::now();
    let asked = Connect { keep_alive_s: 0, ..connect_5("held", Properties::NONE) };
    let (mut wire, _) = Wire::open(daemon.port(), &asked)?;
    ensure!(wire.end()? == Some(Reason::KeepAliveTimeout));
    let took = begun.elapsed().as_millis();
    ensure!((2_900..6_000).contains(&took), "{took} ms");
    old.ping()
}
