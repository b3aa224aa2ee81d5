//! Messages: every quality of service, properties, aliases, flow control.

use anyhow::{Result, bail, ensure};
use tributary_core::record::Qos;
use tributary_mqtt::Reason;
use tributary_mqtt::codec::Packet;
use tributary_mqtt::codec::ack::Ack;
use tributary_mqtt::codec::connect::{Connect, LastWill};
use tributary_mqtt::codec::property::{Carrier, Properties, Property};
use tributary_mqtt::codec::publish::{Delivery, Publish};
use tributary_tests::daemon::Daemon;
use tributary_tests::wait;
use tributary_tests::wire::{Message, Wire, checked, connect, connect_5, encoded, id};

use super::TRIBUTARY;

const EACH_QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// The topic alias of a message.
fn alias(message: &Message) -> Option<u16> {
    message.properties().find_map(|property| match property {
        Property::TopicAlias(alias) => Some(alias.get()),
        _ => None,
    })
}

/// Publishes with an alias, at QoS 0.
fn publish_by_alias(wire: &mut Wire, topic: &str, payload: &[u8], alias: u16) -> Result<()> {
    let properties = encoded(&[Property::TopicAlias(id(alias))]);
    let properties = checked(Carrier::Publish, &properties);
    let delivery = Delivery::AtMostOnce;
    wire.send(&Packet::Publish(Publish { delivery, retain: false, topic, properties, payload }))
}

#[test]
fn one_hears_oneself_at_each_quality_of_service() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    for asked in [connect("c"), connect_5("d", Properties::NONE)] {
        let (mut wire, _) = Wire::open(daemon.port(), &asked)?;
        wire.subscribe("TopicA", Qos::ExactlyOnce)?;
        for qos in EACH_QOS {
            wire.tell(("TopicA", "x"), qos, false, &[])?;
            let message = wire.take()?;
            ensure!(message.delivery.qos() == qos && !message.retain, "{message:?}");
        }
        wire.is_quiet()?;
    }
    Ok(())
}

#[test]
fn what_a_publisher_says_reaches_each_subscriber() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let said = [
        Property::PayloadFormatText(true),
        Property::ContentType("text/plain"),
        Property::ResponseTopic("answers/1"),
        Property::CorrelationData(b"334"),
        Property::User("a", "2"),
        Property::User("c", "3"),
        Property::User("a", "1"),
    ];
    let (mut reader, _) = Wire::open(daemon.port(), &connect_5("reader", Properties::NONE))?;
    reader.subscribe("requests", Qos::ExactlyOnce)?;
    let (mut plain, _) = Wire::open(daemon.port(), &connect("plain"))?;
    plain.subscribe("requests", Qos::ExactlyOnce)?;
    let (mut asking, _) = Wire::open(daemon.port(), &connect_5("asking", Properties::NONE))?;
    asking.subscribe("answers/1", Qos::AtLeastOnce)?;
    for qos in EACH_QOS {
        asking.tell(("requests", "request"), qos, false, &said)?;
        let message = reader.take()?;
        let came: Vec<Property<'_>> = message.properties().collect();
        ensure!(came == said, "{came:?}");
        ensure!(plain.take()?.payload == "request");
        // The answer goes where it was asked for.
        let Some(Property::ResponseTopic(topic)) = came.get(2) else { bail!("{came:?}") };
        reader.tell((topic, "response"), qos, false, &came[3..4])?;
        let answer = asking.take()?;
        ensure!(answer.properties().eq([said[3]]) && answer.payload == "response", "{answer:?}");
    }
    Ok(())
}

/// Whatever a packet within the announced size is full of, it ends no connection and is stored and delivered
/// (MQTT-3.2.2-15): as it comes, from the log to who was away, and as a will.
#[test]
fn a_packet_within_the_announced_size_may_be_full_of_properties() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    let long = "v".repeat(50_000);
    let said = [Property::User("n", &long); 5];
    let lasting = encoded(&[Property::SessionExpiry(600)]);
    let reads = connect_5("reader", checked(Carrier::Connect, &lasting));
    let reads = Connect { clean_start: false, ..reads };
    let (mut reader, _) = Wire::open(daemon.port(), &reads)?;
    reader.subscribe("t/#", Qos::ExactlyOnce)?;
    let encoded_said = encoded(&said);
    let last = LastWill {
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: checked(Carrier::Will, &encoded_said),
        topic: "t/will",
        payload: b"gone",
    };
    let asked = Connect { will: Some(last), ..connect_5("writer", Properties::NONE) };
    let (mut writer, _) = Wire::open(daemon.port(), &asked)?;
    for qos in EACH_QOS {
        writer.tell(("t/1", "1"), qos, false, &said)?;
        let message = reader.take()?;
        ensure!(message.properties().eq(said) && message.payload == "1");
    }
    reader.leave(Reason::Success, Properties::NONE)?;
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        writer.tell(("t/2", "2"), qos, false, &said)?;
    }
    writer.leave(Reason::DisconnectWithWill, Properties::NONE)?;
    daemon.kill()?;
    daemon.restart()?;
    let (mut reader, _) = Wire::open(daemon.port(), &reads)?;
    for topic in ["t/2", "t/2", "t/will"] {
        let message = reader.take()?;
        ensure!(message.properties().eq(said) && message.topic == topic, "{}", message.topic);
    }
    Ok(())
}

#[test]
fn an_alias_of_the_client_lasts_as_long_as_its_connection() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let asked = connect_5("c", Properties::NONE);
    let (mut reader, _) = Wire::open(daemon.port(), &connect("reader"))?;
    reader.subscribe("TopicA", Qos::AtMostOnce)?;
    let (mut wire, _) = Wire::open(daemon.port(), &asked)?;
    publish_by_alias(&mut wire, "TopicA", b"1", 1)?;
    publish_by_alias(&mut wire, "", b"2", 1)?;
    for expected in ["1", "2"] {
        let message = reader.take()?;
        ensure!((&*message.topic, &*message.payload) == ("TopicA", expected), "{message:?}");
    }
    // On another connection it stands for nothing.
    let (mut wire, _) = Wire::open(daemon.port(), &Connect { clean_start: false, ..asked })?;
    publish_by_alias(&mut wire, "", b"3", 1)?;
    ensure!(wire.end()?.is_some_and(Reason::is_failure));
    // 0 and what is above the maximum are none.
    for alias in [[0, 0], [0xFF, 0xFF]] {
        let (mut wire, _) = Wire::open(daemon.port(), &asked)?;
        wire.send_bytes(&[&b"\x30\x08\0\x01t\x03\x23"[..], &alias, b"x"].concat())?;
        ensure!(wire.end()? == Some(Reason::TopicAliasInvalid));
    }
    reader.is_quiet()
}

#[test]
fn the_server_uses_aliases_where_the_client_takes_them() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    for (maximum, expected) in [(Some(1), Some(1)), (Some(0), None), (None, None)] {
        let properties: Vec<_> = maximum.map(Property::TopicAliasMaximum).into_iter().collect();
        let properties = encoded(&properties);
        let asked = connect_5("c", checked(Carrier::Connect, &properties));
        let (mut wire, _) = Wire::open(daemon.port(), &asked)?;
        wire.subscribe("client/TopicA", Qos::ExactlyOnce)?;
        for (number, qos) in EACH_QOS.into_iter().enumerate() {
            wire.tell(("client/TopicA", "x"), qos, false, &[])?;
            let message = wire.take()?;
            let is_named = expected.is_none() || number == 0;
            let topic = if is_named { "client/TopicA" } else { "" };
            ensure!(alias(&message) == expected && message.topic == topic, "{message:?}");
        }
    }
    Ok(())
}

#[test]
fn a_client_gets_no_packet_that_is_larger_than_it_takes() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let properties = encoded(&[Property::MaximumPacketSize(64.try_into()?)]);
    let asked = connect_5("c", checked(Carrier::Connect, &properties));
    let (mut wire, _) = Wire::open(daemon.port(), &asked)?;
    wire.subscribe("TopicA", Qos::ExactlyOnce)?;
    let (mut other, _) = Wire::open(daemon.port(), &connect("other"))?;
    other.subscribe("TopicA", Qos::ExactlyOnce)?;
    let (small, large) = (".".repeat(32), ".".repeat(64));
    for qos in EACH_QOS {
        wire.tell(("TopicA", &small), qos, false, &[])?;
        wire.tell(("TopicA", &large), qos, false, &[])?;
        wire.tell(("TopicA", "last"), qos, false, &[])?;
        // What is too large is as good as delivered.
        ensure!(wire.take()?.payload == small && wire.take()?.payload == "last");
        for expected in [&*small, &*large, "last"] {
            ensure!(other.take()?.payload == expected);
        }
    }
    wire.is_quiet()
}

#[test]
fn no_more_is_under_way_than_the_client_allows() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let properties = encoded(&[Property::ReceiveMaximum(id(2))]);
    let asked = connect_5("c", checked(Carrier::Connect, &properties));
    let (mut wire, _) = Wire::open(daemon.port(), &asked)?;
    wire.subscribe("TopicA", Qos::AtLeastOnce)?;
    for number in 1..=4 {
        wire.tell(("TopicA", &number.to_string()), Qos::AtLeastOnce, false, &[])?;
    }
    let (first, second) = (wire.message()?, wire.message()?);
    // QoS 0 goes on, and so do answers.
    wire.is_quiet()?;
    wire.ping()?;
    wire.send(&Packet::PubAck(Ack::success(second.packet_id()?)))?;
    let third = wire.message()?;
    wire.is_quiet()?;
    for message in [&first, &third] {
        wire.send(&Packet::PubAck(Ack::success(message.packet_id()?)))?;
    }
    let said = [&first, &second, &third, &wire.take()?].map(|message| message.payload.clone());
    ensure!(said == ["1", "2", "3", "4"], "{said:?}");
    wire.is_quiet()
}

#[test]
fn a_message_is_of_use_for_as_long_as_it_says() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let properties = encoded(&[Property::SessionExpiry(60)]);
    let asked = connect_5("away", checked(Carrier::Connect, &properties));
    let (mut away, _) = Wire::open(daemon.port(), &asked)?;
    away.subscribe("TopicA", Qos::ExactlyOnce)?;
    away.leave(Reason::Success, Properties::NONE)?;
    let (mut wire, _) = Wire::open(daemon.port(), &connect_5("c", Properties::NONE))?;
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        wire.tell(("TopicA", "short"), qos, false, &[Property::MessageExpiry(1)])?;
        wire.tell(("TopicA", "long"), qos, false, &[Property::MessageExpiry(60)])?;
    }
    wait::pass(core::time::Duration::from_millis(1_500));
    let (mut away, _) = Wire::open(daemon.port(), &Connect { clean_start: false, ..asked })?;
    for _ in 0..2 {
        let message = away.take()?;
        let left = message.properties().any(
            |property| matches!(property, Property::MessageExpiry(left) if (50..60).contains(&left)),
        );
        ensure!(message.payload == "long" && left, "{message:?}");
    }
    away.is_quiet()
}
