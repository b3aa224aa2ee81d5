//! Subscriptions: what they select, what is answered, what ends with them.

use std::fs;

use core::num::NonZeroU32;

use anyhow::{Result, ensure};
use tributary_core::record::Qos;
use tributary_mqtt::Reason;
use tributary_mqtt::codec::Packet;
use tributary_mqtt::codec::ack::Ack;
use tributary_mqtt::codec::connect::Connect;
use tributary_mqtt::codec::property::{Carrier, Properties, Property};
use tributary_mqtt::codec::publish::Delivery;
use tributary_mqtt::codec::subscribe::Options;
use tributary_tests::daemon::Daemon;
use tributary_tests::ports;
use tributary_tests::wire::{Wire, checked, connect, connect_5, encoded};

use super::TRIBUTARY;

#[test]
fn overlapping_subscriptions_bring_one_message_with_all_that_they_say() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let (mut wire, _) = Wire::open(daemon.port(), &connect_5("c", Properties::NONE))?;
    let numbers = [2, 3, 268_435_455].map(|number| NonZeroU32::new(number).expect("not 0"));
    for (filter, qos, number) in [
        ("TopicA/#", Qos::ExactlyOnce, numbers[0]),
        ("TopicA/+", Qos::AtLeastOnce, numbers[1]),
        ("+/C", Qos::AtMostOnce, numbers[2]),
    ] {
        let options = Options::with_qos(qos);
        wire.subscribe_to(&[(filter, options)], &[Property::SubscriptionIdentifier(number)])?;
    }
    let (mut plain, _) = Wire::open(daemon.port(), &connect("plain"))?;
    plain.subscribe("TopicA/#", Qos::ExactlyOnce)?;
    plain.subscribe("+/C", Qos::AtLeastOnce)?;
    wire.tell(("TopicA/C", "overlapping"), Qos::ExactlyOnce, false, &[])?;
    let message = wire.take()?;
    let mut came: Vec<u32> = message
        .properties()
        .filter_map(|property| match property {
            Property::SubscriptionIdentifier(number) => Some(number.get()),
            _ => None,
        })
        .collect();
    came.sort_unstable();
    ensure!(came == numbers.map(NonZeroU32::get), "{came:?}");
    ensure!(message.delivery.qos() == Qos::ExactlyOnce, "{message:?}");
    ensure!(plain.take()?.delivery.qos() == Qos::ExactlyOnce);
    wire.is_quiet()?;
    plain.is_quiet()
}

#[test]
fn no_local_keeps_ones_own_messages_away() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let mut wires = Vec::new();
    for name in ["a", "b"] {
        let (mut wire, _) = Wire::open(daemon.port(), &connect_5(name, Properties::NONE))?;
        let options = Options { no_local: true, ..Options::with_qos(Qos::ExactlyOnce) };
        wire.subscribe_to(&[("TopicA", options)], &[])?;
        wires.push(wire);
    }
    wires[0].tell(("TopicA", "x"), Qos::AtLeastOnce, false, &[])?;
    ensure!(wires[1].take()?.payload == "x");
    wires[0].is_quiet()
}

#[test]
fn no_local_keeps_ones_own_retained_messages_away() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    for (name, is_own) in [("a", true), ("b", false)] {
        let (mut wire, _) = Wire::open(daemon.port(), &connect_5(name, Properties::NONE))?;
        if is_own {
            wire.tell(("TopicA", "x"), Qos::AtLeastOnce, true, &[])?;
        }
        let options = Options { no_local: true, ..Options::with_qos(Qos::ExactlyOnce) };
        wire.subscribe_to(&[("TopicA", options)], &[])?;
        if !is_own {
            ensure!(wire.take()?.payload == "x");
        }
        wire.is_quiet()?;
        // Who wants them has them.
        wire.subscribe("TopicA", Qos::ExactlyOnce)?;
        ensure!(wire.take()?.payload == "x");
    }
    Ok(())
}

#[test]
fn topics_with_a_dollar_are_not_for_wildcards() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let (mut wire, _) = Wire::open(daemon.port(), &connect("c"))?;
    for filter in ["#", "+/TopicA", "+/#"] {
        wire.subscribe(filter, Qos::ExactlyOnce)?;
    }
    wire.tell(("$own/TopicA", "x"), Qos::AtLeastOnce, false, &[])?;
    wire.is_quiet()?;
    // Nor do they get what the daemon tells of itself, which is there to be had.
    wire.subscribe("$SYS/#", Qos::AtMostOnce)?;
    ensure!(wire.take()?.topic.starts_with("$SYS/"));
    Ok(())
}

#[test]
fn what_is_not_allowed_is_refused_by_itself() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    daemon.stop()?;
    let port = ports::free()?;
    let acl = daemon.dir().join("acl");
    fs::write(&acl, "topic readwrite #\ntopic deny test/nosubscribe\n")?;
    let acl = acl.display();
    daemon
        .configure(&format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\nacl = \"{acl}\"\n"))?;
    daemon.restart()?;
    for (asked, refused) in [
        (connect("c"), Reason::Unspecified),
        (connect_5("d", Properties::NONE), Reason::NotAuthorized),
    ] {
        let (mut wire, _) = Wire::open(port, &asked)?;
        let filters = ["a", "test/nosubscribe", "b"];
        let asked = filters.map(|filter| (filter, Options::with_qos(Qos::ExactlyOnce)));
        let granted = wire.subscribe_to(&asked, &[])?;
        ensure!(granted == [Reason::GrantedQos2, refused, Reason::GrantedQos2], "{granted:?}");
    }
    Ok(())
}

#[test]
fn what_was_begun_goes_on_behind_the_end_of_a_subscription() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let properties = encoded(&[Property::SessionExpiry(60)]);
    let asked = connect_5("c", checked(Carrier::Connect, &properties));
    let (mut wire, _) = Wire::open(daemon.port(), &asked)?;
    for filter in ["A", "B", "C"] {
        wire.subscribe(filter, Qos::ExactlyOnce)?;
    }
    let (mut other, _) = Wire::open(daemon.port(), &connect("other"))?;
    other.tell(("A", "once"), Qos::AtLeastOnce, false, &[])?;
    other.tell(("A", "twice"), Qos::ExactlyOnce, false, &[])?;
    let (once, twice) = (wire.message()?, wire.message()?);
    let reasons = wire.unsubscribe(&["A", "A/none", "B"])?;
    ensure!(reasons == [Reason::Success, Reason::NoSubscriptionExisted, Reason::Success]);
    for topic in ["A", "B", "C"] {
        other.tell((topic, "after"), Qos::AtLeastOnce, false, &[])?;
    }
    let message = wire.take()?;
    ensure!((&*message.topic, &*message.payload) == ("C", "after"), "{message:?}");
    wire.ping()?;
    drop(wire);
    // Over another connection, too.
    let (mut wire, _) = Wire::open(daemon.port(), &Connect { clean_start: false, ..asked })?;
    for before in [once, twice] {
        let message = wire.message()?;
        let is_again = match message.delivery {
            Delivery::AtLeastOnce { dup, .. } | Delivery::ExactlyOnce { dup, .. } => dup,
            Delivery::AtMostOnce => false,
        };
        ensure!(message.packet_id()? == before.packet_id()? && is_again, "{message:?}");
        ensure!(message.payload == before.payload, "{message:?}");
        let ack = Ack::success(message.packet_id()?);
        if message.payload == "once" {
            wire.send(&Packet::PubAck(ack))?;
        } else {
            wire.send(&Packet::PubRec(ack))?;
            wire.next(|packet| matches!(packet, Packet::PubRel(_)).then_some(()))?;
            wire.send(&Packet::PubComp(ack))?;
        }
    }
    wire.is_quiet()
}

#[test]
fn a_subscription_that_is_made_again_is_another() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let (mut wire, _) = Wire::open(daemon.port(), &connect("c"))?;
    for qos in [Qos::AtMostOnce, Qos::ExactlyOnce, Qos::AtLeastOnce] {
        wire.subscribe("TopicA", qos)?;
        wire.tell(("TopicA", "x"), Qos::ExactlyOnce, false, &[])?;
        ensure!(wire.take()?.delivery.qos() == qos);
        wire.is_quiet()?;
    }
    Ok(())
}
