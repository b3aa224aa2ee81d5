//! The access list holds for publishes, subscriptions, deliveries and wills, and from a reload on.

use core::time::Duration;
use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use rumqttc::v5::mqttbytes::v5::{Packet as Packet5, PubAckReason, SubscribeReasonCode};
use rumqttc::v5::{Event as Event5, MqttOptions as Options5, mqttbytes::QoS as QoS5};
use rumqttc::{LastWill, QoS};
use tributary_tests::daemon::Daemon;
use tributary_tests::wait;

use super::client::{ANSWER_MAX, Peer, expect_refusal, user};
use super::passwords::{add, section, start};

const ACL: &str = "
user ann
topic read plant/#
topic deny plant/vault/#
user guard
topic read plant/#
user press
topic write plant/press/#
topic write plant/vault/#
pattern readwrite own/%u/%c
";

/// A daemon where ann reads and press writes.
fn plant() -> Result<(Daemon, u16, PathBuf)> {
    let (mut daemon, port, users) = start("")?;
    add(&users, "press", "steel")?;
    add(&users, "guard", "iron")?;
    let acl = daemon.dir().join("acl");
    fs::write(&acl, ACL)?;
    daemon.configure(&section(port, &users, &format!("acl = \"{}\"\n", acl.display())))?;
    daemon.stop()?;
    daemon.restart()?;
    Ok((daemon, port, acl))
}

#[test]
fn what_a_member_of_a_group_may_not_read_goes_to_another() -> Result<()> {
    let (daemon, port, _acl) = plant()?;
    let mut ann = Peer::enter(user("ann", port, "s3cret"))?;
    ensure!(ann.subscribe("$share/crew/plant/#")?);
    let mut guard = Peer::enter(user("guard", port, "iron"))?;
    ensure!(guard.subscribe("$share/crew/plant/#")?);
    let mut press = Peer::enter(user("press", port, "steel"))?;
    let mut came = Vec::new();
    for number in 1..=4 {
        press.publish("plant/vault/door", &number.to_string())?;
    }
    for _ in 1..=4 {
        came.push(guard.message()?.1);
    }
    came.sort_unstable();
    ensure!(came == ["1", "2", "3", "4"], "{came:?}");
    ann.expect_silence()?;
    let status = daemon.status()?;
    let denied = status["mqtt"]["refused"]["deliveries"].as_u64();
    ensure!(denied.is_some_and(|count| (1..=4).contains(&count)), "{status}");
    let clients = status["mqtt"]["clients"].as_array().map_or(&[][..], Vec::as_slice);
    let published = |name: &str| {
        clients
            .iter()
            .find(|client| client["client"] == name)
            .map(|client| client["published"].clone())
    };
    ensure!(
        (published("press"), published("guard")) == (Some(4.into()), Some(0.into())),
        "{status}"
    );
    Ok(())
}

#[test]
fn nobody_gets_what_he_may_not_read() -> Result<()> {
    let (daemon, port, _acl) = plant()?;
    let mut ann = Peer::enter(user("ann", port, "s3cret"))?;
    // More than she may read is granted, and not delivered.
    ensure!(ann.subscribe("#")?);
    ensure!(!ann.subscribe("plant/vault/door")?, "nothing of that");
    ensure!(!ann.subscribe("own/press/press")?, "nothing of that");
    let mut press = Peer::enter(user("press", port, "steel"))?;
    press.publish("plant/vault/door", "secret")?;
    press.publish("own/press/press", "mine")?;
    press.publish("plant/press/state", "on")?;
    ensure!(ann.message()? == ("plant/press/state".into(), "on".into()));
    // At another door everything is allowed: it is the reader who is judged.
    let mut free = Peer::enter(super::client::options("free", daemon.port()))?;
    ensure!(free.subscribe("plant/vault/#")?);
    press.publish("plant/vault/door", "again")?;
    ensure!(free.message()? == ("plant/vault/door".into(), "again".into()));
    ann.expect_silence()
}

#[test]
fn nobody_publishes_where_he_may_not() -> Result<()> {
    let (daemon, port, _acl) = plant()?;
    // MQTT 3.1.1 has no word for it: nothing is acknowledged, and the connection ends.
    let mut press = Peer::enter(user("press", port, "steel"))?;
    press.publish("plant/press/state", "1")?;
    ensure!(press.publish("plant/other/state", "forged").is_err());
    // At QoS 0 it is dropped, and the connection goes on.
    let mut press = Peer::enter(user("press", port, "steel"))?;
    press.client.publish("plant/other/state", QoS::AtMostOnce, false, "forged")?;
    press.publish("plant/press/state", "2")?;
    let events = daemon.events()?;
    ensure!(events.iter().all(|event| event.payload != "forged"), "{events:?}");
    ensure!(events.len() == 2, "{events:?}");
    Ok(())
}

/// The next packet that `wanted` takes.
fn await_packet<T>(
    connection: &mut rumqttc::v5::Connection,
    wanted: impl Fn(Packet5) -> Option<T>,
) -> Result<T> {
    loop {
        match connection.recv_timeout(ANSWER_MAX) {
            Ok(Ok(Event5::Incoming(packet))) => {
                if let Some(found) = wanted(packet) {
                    return Ok(found);
                }
            }
            Ok(Ok(Event5::Outgoing(_))) => {}
            other => bail!("{other:?}"),
        }
    }
}

#[test]
fn mqtt_5_is_told_why() -> Result<()> {
    let (_daemon, port, _acl) = plant()?;
    let mut options = Options5::new("press", "localhost", port);
    options.set_credentials("press", "steel");
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut connection) = rumqttc::v5::Client::new(options, 10);
    client.publish("plant/other", QoS5::AtLeastOnce, false, "forged")?;
    let reason = await_packet(&mut connection, |packet| match packet {
        Packet5::PubAck(ack) => Some(ack.reason),
        _ => None,
    })?;
    ensure!(reason == PubAckReason::NotAuthorized, "{reason:?}");
    client.subscribe("plant/press/#", QoS5::AtLeastOnce)?;
    let codes = await_packet(&mut connection, |packet| match packet {
        Packet5::SubAck(ack) => Some(ack.return_codes),
        _ => None,
    })?;
    ensure!(codes == [SubscribeReasonCode::NotAuthorized], "{codes:?}");
    client.publish("plant/press/state", QoS5::AtLeastOnce, false, "on")?;
    let reason = await_packet(&mut connection, |packet| match packet {
        Packet5::PubAck(ack) => Some(ack.reason),
        _ => None,
    })?;
    // Nobody is subscribed, or that is not told: both are no failure.
    ensure!((reason as u8) < 0x80, "the connection goes on: {reason:?}");
    Ok(())
}

#[test]
fn a_will_is_judged_like_a_publish() -> Result<()> {
    let (mut daemon, port, acl) = plant()?;
    let with_will = |topic: &str| {
        let mut options = user("press", port, "steel");
        options.set_last_will(LastWill::new(topic, "gone", QoS::AtLeastOnce, false));
        options
    };
    expect_refusal(with_will("plant/other/state"), "NotAuthorized")?;
    drop(Peer::enter(with_will("plant/press/state"))?);
    wait::until("the will", ANSWER_MAX, || Ok((daemon.events()?.len() == 1).then_some(())))?;
    // Allowed when it came, and not any more when it goes.
    let press = Peer::enter(with_will("plant/press/state"))?;
    fs::write(&acl, ACL.replace("topic write plant/press/#", "topic write plant/press/x"))?;
    daemon.hang_up()?;
    wait::until("the reload", ANSWER_MAX, || {
        Ok(daemon.log_lines()?.contains("configuration reloaded").then_some(()))
    })?;
    drop(press);
    wait::until("its end", ANSWER_MAX, || {
        Ok((daemon.status()?["mqtt"]["connections"] == 0).then_some(()))
    })?;
    // Wills go in order: with the one of a later guest this one would be there.
    drop(Peer::enter(with_will("plant/press/x"))?);
    let last = |topics: &[String]| topics.last().is_some_and(|topic| topic == "plant/press/x");
    let topics = wait::until("the next will", ANSWER_MAX, || {
        let topics: Vec<String> = daemon.events()?.into_iter().map(|event| event.topic).collect();
        Ok(last(&topics).then_some(topics))
    })?;
    ensure!(topics == ["plant/press/state", "plant/press/x"], "{topics:?}");
    Ok(())
}

#[test]
fn a_reload_holds_from_the_next_message_on() -> Result<()> {
    let (mut daemon, port, acl) = plant()?;
    let mut ann = Peer::enter(user("ann", port, "s3cret"))?;
    ensure!(ann.subscribe("plant/#")?);
    let mut press = Peer::enter(user("press", port, "steel"))?;
    press.publish("plant/press/state", "before")?;
    ensure!(ann.message()?.1 == "before");
    fs::write(&acl, ACL.replace("topic read plant/#", "topic read plant/hall/#"))?;
    daemon.hang_up()?;
    wait::until("the reload", ANSWER_MAX, || {
        Ok(daemon.log_lines()?.contains("configuration reloaded").then_some(()))
    })?;
    press.publish("plant/press/state", "after")?;
    ann.expect_silence()?;
    ensure!(!ann.subscribe("plant/press/#")?);
    Ok(())
}
