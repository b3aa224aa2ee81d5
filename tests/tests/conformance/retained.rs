//! Retained messages, and which subscriptions get them.

use anyhow::{Context, Result, ensure};
use tributary_core::record::Qos;
use tributary_mqtt::codec::property::{Properties, Property};
use tributary_mqtt::codec::subscribe::{Options, RetainHandling};
use tributary_tests::daemon::Daemon;
use tributary_tests::wire::{Wire, connect, connect_5};

use super::TRIBUTARY;

/// A daemon with a retained message of each quality of service.
fn three() -> Result<(Daemon, Wire)> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let (mut wire, _) = Wire::open(daemon.port(), &connect_5("c", Properties::NONE))?;
    let user = [Property::User("a", "2"), Property::User("c", "3")];
    for (topic, qos) in
        [("A/B", Qos::AtMostOnce), ("A/C", Qos::AtLeastOnce), ("A/D", Qos::ExactlyOnce)]
    {
        wire.tell((topic, "kept"), qos, true, &user)?;
    }
    Ok((daemon, wire))
}

/// Subscribes with this handling; how many retained messages come for it.
fn asked(wire: &mut Wire, filter: &str, retain_handling: RetainHandling) -> Result<usize> {
    let options = Options { retain_handling, ..Options::with_qos(Qos::ExactlyOnce) };
    wire.subscribe_to(&[(filter, options)], &[])?;
    // Behind all that is retained.
    wire.tell(("end/of/it", "end"), Qos::AtLeastOnce, false, &[])?;
    let mut count = 0;
    loop {
        let message = wire.take()?;
        if message.payload == "end" {
            return Ok(count);
        }
        ensure!(message.retain && message.payload == "kept", "{message:?}");
        ensure!(message.properties().count() == 2, "{message:?}");
        count += 1;
    }
}

/// More than leaves at once, and nothing else happens on the connection (MQTT-3.3.1-9).
#[test]
fn all_of_many_come_to_who_says_nothing_more() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let (mut wire, _) = Wire::open(daemon.port(), &connect_5("c", Properties::NONE))?;
    let payload = "x".repeat(1_000);
    for number in 0..900 {
        wire.tell((&format!("many/{number}"), &payload), Qos::AtMostOnce, true, &[])?;
    }
    wire.ping()?;
    let (mut wire, _) = Wire::open(daemon.port(), &connect("d"))?;
    wire.subscribe("many/+", Qos::AtMostOnce)?;
    for number in 0..900 {
        let message = wire.message().with_context(|| format!("after {number}"))?;
        ensure!(message.payload == payload, "{message:?}");
    }
    Ok(())
}

#[test]
fn a_new_subscription_gets_what_its_handling_says() -> Result<()> {
    let (_daemon, mut wire) = three()?;
    wire.subscribe("end/of/it", Qos::AtMostOnce)?;
    // Each time; once; never.
    for expected in [3, 3] {
        ensure!(asked(&mut wire, "A/+", RetainHandling::Send)? == expected);
    }
    for expected in [3, 0, 0] {
        ensure!(asked(&mut wire, "+/+", RetainHandling::SendIfNew)? == expected);
    }
    wire.unsubscribe(&["+/+"])?;
    ensure!(asked(&mut wire, "+/+", RetainHandling::SendIfNew)? == 3, "it is new again");
    for expected in [0, 0] {
        ensure!(asked(&mut wire, "A/#", RetainHandling::DoNotSend)? == expected);
    }
    // A shared subscription gets none.
    ensure!(asked(&mut wire, "$share/g/A/#", RetainHandling::Send)? == 0);
    Ok(())
}

#[test]
fn a_retained_message_is_replaced_removed_and_otherwise_left_alone() -> Result<()> {
    let (daemon, mut wire) = three()?;
    wire.tell(("A/B", "not kept"), Qos::AtLeastOnce, false, &[])?;
    wire.tell(("A/C", "new"), Qos::AtMostOnce, true, &[])?;
    wire.tell(("A/D", ""), Qos::AtLeastOnce, true, &[])?;
    let (mut reader, _) = Wire::open(daemon.port(), &connect("reader"))?;
    reader.subscribe("#", Qos::ExactlyOnce)?;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let message = reader.take()?;
        ensure!(message.retain, "{message:?}");
        kept.push((message.topic, message.payload));
    }
    kept.sort_unstable();
    let expected = [("A/B", "kept"), ("A/C", "new")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    ensure!(kept == expected, "{kept:?}");
    // They do not end with the session of who published them, and what ends one is told as it came.
    drop(wire);
    let (mut other, _) = Wire::open(daemon.port(), &connect("other"))?;
    other.publish_once("A/B", "", true)?;
    let removal = reader.take()?;
    ensure!((&*removal.topic, &*removal.payload, removal.retain) == ("A/B", "", false));
    reader.is_quiet()
}

#[test]
fn retain_is_passed_on_to_who_asks() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let (mut wire, _) = Wire::open(daemon.port(), &connect_5("c", Properties::NONE))?;
    for retain_as_published in [false, true] {
        let options = Options { retain_as_published, ..Options::with_qos(Qos::ExactlyOnce) };
        wire.subscribe_to(&[("TopicA", options)], &[])?;
        for retain in [false, true] {
            wire.tell(("TopicA", "x"), Qos::AtLeastOnce, retain, &[])?;
            let message = wire.take()?;
            ensure!(message.retain == (retain && retain_as_published), "{message:?}");
        }
        wire.tell(("TopicA", ""), Qos::AtLeastOnce, true, &[])?;
        wire.take()?;
    }
    Ok(())
}
