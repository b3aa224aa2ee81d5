//! Shared subscriptions.

use anyhow::{Result, ensure};
use tributary_core::record::Qos;
use tributary_mqtt::Reason;
use tributary_mqtt::codec::Packet;
use tributary_mqtt::codec::ack::Ack;
use tributary_mqtt::codec::connect::Connect;
use tributary_mqtt::codec::property::{Carrier, Properties, Property};
use tributary_tests::daemon::Daemon;
use tributary_tests::wire::{Message, Wire, checked, connect, connect_5, encoded};

use super::TRIBUTARY;

fn member(daemon: &Daemon, name: &str, qos: Qos, expiry_s: u32) -> Result<Wire> {
    let properties = encoded(&[Property::SessionExpiry(expiry_s)]);
    let asked = connect_5(name, checked(Carrier::Connect, &properties));
    let (mut wire, _) = Wire::open(daemon.port(), &asked)?;
    wire.subscribe("$share/crew/jobs", qos)?;
    Ok(wire)
}

/// Publishes at QoS 2 until a message has come to `wire`, which does not answer; the others take theirs.
fn dealt(boss: &mut Wire, wire: &mut Wire, others: &mut [Wire]) -> Result<Message> {
    for number in 0..=others.len() {
        boss.tell(("jobs", &format!("job {number}")), Qos::ExactlyOnce, false, &[])?;
    }
    for other in others {
        other.take()?;
    }
    wire.message()
}

#[test]
fn each_message_goes_to_one_at_its_own_quality_of_service() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let mut low = member(&daemon, "low", Qos::AtMostOnce, 0)?;
    let mut high = member(&daemon, "high", Qos::ExactlyOnce, 0)?;
    // One of its own beside the shared one.
    high.subscribe("jobs", Qos::AtLeastOnce)?;
    let (mut boss, _) = Wire::open(daemon.port(), &connect("boss"))?;
    for number in 0..10 {
        boss.tell(("jobs", &number.to_string()), Qos::ExactlyOnce, false, &[])?;
    }
    let (mut shared, mut own) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        let message = high.take()?;
        match message.delivery.qos() {
            Qos::ExactlyOnce => shared.push(message.payload),
            Qos::AtLeastOnce => own.push(message.payload),
            Qos::AtMostOnce => anyhow::bail!("{message:?}"),
        }
    }
    ensure!(own.len() == 10 && shared.len() == 5, "{own:?} {shared:?}");
    for _ in 0..5 {
        let message = low.take()?;
        ensure!(message.delivery.qos() == Qos::AtMostOnce, "{message:?}");
        shared.push(message.payload);
    }
    shared.sort_unstable();
    ensure!(shared == own, "each once: {shared:?}");
    low.is_quiet()?;
    high.is_quiet()
}

/// What has begun at QoS 2 waits for its receiver, and ends with its session [MQTT-4.8.2-4, -5].
#[test]
fn what_has_begun_with_one_is_not_another_ones() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let (mut boss, _) = Wire::open(daemon.port(), &connect("boss"))?;
    let mut others = [member(&daemon, "other", Qos::ExactlyOnce, 0)?];
    let mut wire = member(&daemon, "member", Qos::ExactlyOnce, 60)?;
    let before = dealt(&mut boss, &mut wire, &mut others)?;
    drop(wire);
    others[0].is_quiet()?;
    let properties = encoded(&[Property::SessionExpiry(60)]);
    let back = connect_5("member", checked(Carrier::Connect, &properties));
    let back = Connect { clean_start: false, ..back };
    let (mut wire, present) = Wire::open(daemon.port(), &back)?;
    ensure!(present);
    let message = wire.take()?;
    ensure!(message.payload == before.payload, "{message:?}");
    ensure!(message.packet_id()? == before.packet_id()?, "{message:?}");
    // Its session ends before the next one has come to its end.
    let before = dealt(&mut boss, &mut wire, &mut others)?;
    let end = encoded(&[Property::SessionExpiry(0)]);
    wire.leave(Reason::Success, checked(Carrier::Disconnect, &end))?;
    others[0].is_quiet()?;
    boss.tell(("jobs", "next"), Qos::ExactlyOnce, false, &[])?;
    ensure!(others[0].take()?.payload == "next" && before.payload != "next");
    Ok(())
}

/// Who refuses a message has had it [MQTT-4.8.2-6].
#[test]
fn what_one_refuses_goes_to_nobody() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let (mut boss, _) = Wire::open(daemon.port(), &connect("boss"))?;
    let mut others = [member(&daemon, "other", Qos::ExactlyOnce, 0)?];
    let mut wire = member(&daemon, "member", Qos::ExactlyOnce, 60)?;
    let message = dealt(&mut boss, &mut wire, &mut others)?;
    let refusal = Ack {
        packet_id: message.packet_id()?,
        reason: Reason::QuotaExceeded,
        properties: Properties::NONE,
    };
    wire.send(&Packet::PubRec(refusal))?;
    wire.is_quiet()?;
    others[0].is_quiet()?;
    // Nor to itself when it comes again, and it is served as before.
    drop(wire);
    let properties = encoded(&[Property::SessionExpiry(60)]);
    let back = connect_5("member", checked(Carrier::Connect, &properties));
    let (mut wire, present) = Wire::open(daemon.port(), &Connect { clean_start: false, ..back })?;
    ensure!(present);
    wire.is_quiet()?;
    dealt(&mut boss, &mut wire, &mut others)?;
    Ok(())
}
