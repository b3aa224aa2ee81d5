//! Sessions, retained messages and wills over SIGKILL, by a client that speaks packet by packet.

use core::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use tributary::runtime::hub::RETAINED_BYTES_MAX;
use tributary::runtime::sessions::{Batch, Change, resume};
use tributary_core::Offset;
use tributary_core::crc::crc32c;
use tributary_core::log::{
    Clock, ControlKind, Entropy, Geometry, Log, ReadMedia as _, Recovery, buffer_bytes,
};
use tributary_core::record::Qos;
use tributary_mqtt::codec::Packet;
use tributary_mqtt::codec::ack::Ack;
use tributary_mqtt::codec::connect::{Connect, LastWill};
use tributary_mqtt::codec::property::{Carrier, Properties, Property};
use tributary_mqtt::codec::publish::Delivery;
use tributary_mqtt::{Reason, Version};
use tributary_tests::daemon::Daemon;
use tributary_tests::disk::Disk;
use tributary_tests::wait;
use tributary_tests::wire::{Message, Wire, checked, connect, connect_5, encoded, id};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
/// In which the log is told how far each client has come.
const PROGRESS: Duration = Duration::from_millis(2_200);

fn payloads(wire: &mut Wire, count: usize) -> Result<Vec<String>> {
    (0..count).map(|_| Ok(wire.take()?.payload)).collect()
}

/// How a daemon ends and begins again between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    Kill,
    Stop,
    /// And the file of sessions is gone.
    KillAndForget,
}

fn again(daemon: &mut Daemon, between: Between) -> Result<()> {
    match between {
        Between::Stop => drop(daemon.stop()?),
        Between::Kill => daemon.kill()?,
        Between::KillAndForget => {
            daemon.kill()?;
            let file = daemon.data().join("sessions.redb");
            if file.exists() {
                fs::remove_file(file)?;
            }
        }
    }
    daemon.restart()
}

fn small_disk() -> Disk {
    Disk::new(Geometry { segments: 4, segment_bytes: 16 * 4096, page_bytes: 4096 }, 1)
}

fn new_log(disk: &Disk) -> Result<Log<Disk, Vec<u8>>> {
    let buffer = vec![0; buffer_bytes(disk.geometry(), 12_000)];
    let recovery = Recovery::run(disk.clone(), buffer, Offset(0), crc32c, &mut |_| {});
    let entropy = Entropy { log_id: 1, generation: 1, salt: 1 };
    let log = recovery.map_err(|why| anyhow!("{why:?}"))?.begin(entropy, Clock::default(), &[]);
    log.map_err(|why| anyhow!("{why:?}"))
}

/// The segment that begins at the offset where they hold is the next one.
#[test]
fn changes_behind_the_last_event_of_a_segment_are_found() -> Result<()> {
    let (disk, clock) = (small_disk(), Clock::default());
    let mut log = new_log(&disk)?;
    let mut batch = Batch::new(1);
    let begun = Change::Begun { fresh: true, expiry_s: 60, will: None };
    ensure!(batch.push("ann", Offset(0), &begun) == 1);
    log.append_control(ControlKind::Sessions, batch.body(), clock)?;
    log.commit()?;
    log.roll(&[], clock)?;
    let end = log.commit()?;
    let (state, lost) = resume(None, &disk.reader(), end)?;
    ensure!(lost.is_empty() && state.clients.contains_key("ann"), "{state:?}");
    Ok(())
}

/// Filters that are shared for a while, one after the other, would fill the file.
#[test]
fn where_a_group_was_is_forgotten_when_nobody_shares_it() -> Result<()> {
    let (disk, clock) = (small_disk(), Clock::default());
    let mut log = new_log(&disk)?;
    let mut batch = Batch::new(1);
    batch.push("ann", Offset(0), &Change::Begun { fresh: true, expiry_s: 60, will: None });
    for filter in ["$share/g/a", "$share/g/b"] {
        batch.push(filter, Offset(0), &Change::Dealt { cursor: 0 });
        let subscribed = Change::Subscribed { filter, options: 1, identifier: 0 };
        batch.push("ann", Offset(0), &subscribed);
    }
    batch.push("ann", Offset(0), &Change::Unsubscribed { filter: "$share/g/a" });
    log.append_control(ControlKind::Sessions, batch.body(), clock)?;
    let end = log.commit()?;
    let (state, _) = resume(None, &disk.reader(), end)?;
    ensure!(state.groups.keys().eq(["$share/g/b"]), "{:?}", state.groups);
    Ok(())
}

const ALL: [Between; 3] = [Between::Kill, Between::Stop, Between::KillAndForget];

#[test]
fn a_session_gets_what_it_missed_in_order_and_once() -> Result<()> {
    for between in ALL {
        let mut daemon = Daemon::start(TRIBUTARY, "")?;
        let (mut listener, present) = Wire::open(daemon.port(), &connect("listener"))?;
        ensure!(!present);
        listener.subscribe("plant/#", Qos::ExactlyOnce)?;
        drop(listener);
        let (mut device, _) = Wire::open(daemon.port(), &connect("device"))?;
        for number in 0..20 {
            device.publish_once("plant/1", &format!("once {number}"), false)?;
            device.publish_twice("plant/1", &format!("twice {number}"))?;
        }
        again(&mut daemon, between)?;
        let (mut listener, present) = Wire::open(daemon.port(), &connect("listener"))?;
        ensure!(present, "{between:?}");
        let expected: Vec<String> =
            (0..20).flat_map(|n| [format!("once {n}"), format!("twice {n}")]).collect();
        ensure!(payloads(&mut listener, 30)? == expected[..30], "{between:?}");
        again(&mut daemon, between)?;
        let (mut listener, _) = Wire::open(daemon.port(), &connect("listener"))?;
        let mut rest = Vec::new();
        while !expected[38..].iter().all(|last| rest.contains(last)) {
            rest.push(listener.take()?.payload);
        }
        // Order is promised for each QoS on its own [MQTT-4.6.0-6].
        let of = |kind: &str, all: &[String]| -> Vec<String> {
            all.iter().filter(|payload| payload.starts_with(kind)).cloned().collect()
        };
        let (twice, once) = (of("twice", &rest), of("once", &rest));
        ensure!(twice == of("twice", &expected[30..]), "{between:?}: {rest:?}");
        // What was acknowledged at QoS 1 just before a crash may come again.
        let again = once.len() - 5;
        ensure!(once[again..] == of("once", &expected[30..]), "{between:?}: {rest:?}");
        ensure!(again == 0 || between != Between::Stop, "{rest:?}");
        listener.is_quiet()?;
    }
    Ok(())
}

#[test]
fn a_retransmission_after_a_crash_is_no_second_event() -> Result<()> {
    for between in ALL {
        let mut daemon = Daemon::start(TRIBUTARY, "")?;
        let (mut device, _) = Wire::open(daemon.port(), &connect("device"))?;
        let first = Delivery::ExactlyOnce { packet_id: id(7), dup: false };
        let again_sent = Delivery::ExactlyOnce { packet_id: id(7), dup: true };
        let pubrec = |packet: &Packet<'_>| matches!(packet, Packet::PubRec(_)).then_some(());
        let pubcomp = |packet: &Packet<'_>| matches!(packet, Packet::PubComp(_)).then_some(());
        device.publish("plant/1", "one", first)?;
        device.next(pubrec)?;
        again(&mut daemon, between)?;
        let (mut device, present) = Wire::open(daemon.port(), &connect("device"))?;
        ensure!(present, "{between:?}");
        device.publish("plant/1", "one", again_sent)?;
        device.next(pubrec)?;
        device.send(&Packet::PubRel(Ack::success(id(7))))?;
        device.next(pubcomp)?;
        again(&mut daemon, between)?;
        // The same identifier is another message's now.
        let (mut device, _) = Wire::open(daemon.port(), &connect("device"))?;
        device.publish("plant/1", "two", again_sent)?;
        device.next(pubrec)?;
        // A new session knows nothing of it.
        let fresh = Connect { clean_start: true, ..connect("device") };
        drop(Wire::open(daemon.port(), &fresh)?);
        let (mut device, present) = Wire::open(daemon.port(), &connect("device"))?;
        ensure!(!present, "{between:?}");
        device.publish("plant/1", "three", again_sent)?;
        device.next(pubrec)?;
        let events: Vec<String> = daemon.events()?.into_iter().map(|event| event.payload).collect();
        ensure!(events == ["one", "two", "three"], "{between:?}: {events:?}");
    }
    Ok(())
}

#[test]
fn what_is_under_way_to_a_client_keeps_its_identifier_over_a_crash() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    let (mut listener, _) = Wire::open(daemon.port(), &connect("listener"))?;
    listener.subscribe("a", Qos::ExactlyOnce)?;
    let (mut device, _) = Wire::open(daemon.port(), &connect("device"))?;
    device.publish_twice("a", "1")?;
    device.publish_twice("a", "2")?;
    let (first, second) = (listener.message()?, listener.message()?);
    listener.send(&Packet::PubRec(Ack::success(first.packet_id()?)))?;
    listener.next(|packet| matches!(packet, Packet::PubRel(_)).then_some(()))?;
    again(&mut daemon, Between::Kill)?;
    let (mut listener, _) = Wire::open(daemon.port(), &connect("listener"))?;
    let released = listener.next(|packet| match packet {
        Packet::PubRel(ack) => Some(ack.packet_id),
        _ => None,
    })?;
    ensure!(released == first.packet_id()?);
    listener.send(&Packet::PubComp(Ack::success(released)))?;
    let sent = Delivery::ExactlyOnce { packet_id: second.packet_id()?, dup: true };
    ensure!(listener.take()? == Message { delivery: sent, ..second });
    listener.is_quiet()
}

#[test]
fn retained_messages_outlive_the_daemon() -> Result<()> {
    for between in ALL {
        let mut daemon = Daemon::start(TRIBUTARY, "")?;
        let (mut device, _) = Wire::open(daemon.port(), &connect("device"))?;
        for (topic, payload) in
            [("state/a", "old"), ("state/a", "new"), ("state/b", "x"), ("state/b", "")]
        {
            device.publish_once(topic, payload, true)?;
        }
        again(&mut daemon, between)?;
        let (mut listener, _) = Wire::open(daemon.port(), &connect("listener"))?;
        listener.subscribe("state/#", Qos::AtLeastOnce)?;
        let message = listener.take()?;
        ensure!(message.retain && message.payload == "new", "{between:?}: {message:?}");
        listener.is_quiet()?;
    }
    Ok(())
}

/// More than may be under way at once: the rest of what is kept for a new subscription waits in memory.
#[test]
fn what_is_kept_for_a_new_subscription_outlives_the_daemon() -> Result<()> {
    const TOPICS: usize = 200;
    for (between, qos) in ALL
        .into_iter()
        .flat_map(|between| [Qos::AtLeastOnce, Qos::ExactlyOnce].map(|qos| (between, qos)))
    {
        let mut daemon = Daemon::start(TRIBUTARY, "")?;
        let (mut device, _) = Wire::open(daemon.port(), &connect("device"))?;
        for number in 0..TOPICS {
            device.tell((&format!("state/{number}"), "kept"), qos, true, &[])?;
        }
        let (mut reader, _) = Wire::open(daemon.port(), &connect("reader"))?;
        reader.subscribe("state/+", qos)?;
        let mut heard: BTreeMap<String, usize> = BTreeMap::new();
        let mut hear = |reader: &mut Wire| -> Result<usize> {
            let message = reader.take()?;
            ensure!(message.retain && message.payload == "kept", "{message:?}");
            *heard.entry(message.topic).or_default() += 1;
            Ok(heard.len())
        };
        while hear(&mut reader)? < 10 {}
        again(&mut daemon, between)?;
        let (mut reader, present) = Wire::open(daemon.port(), &connect("reader"))?;
        ensure!(present, "{between:?} {qos:?}");
        while hear(&mut reader).with_context(|| format!("{between:?} {qos:?}"))? < TOPICS {}
        // At QoS 1 what was acknowledged just before a crash may come again.
        let is_once = heard.values().all(|count| *count == 1);
        ensure!(is_once || qos == Qos::AtLeastOnce, "{between:?}: {heard:?}");
        reader.is_quiet()?;
        wait::pass(PROGRESS);
        again(&mut daemon, Between::Kill)?;
        let (mut reader, _) = Wire::open(daemon.port(), &connect("reader"))?;
        reader.is_quiet()?;
    }
    Ok(())
}

#[test]
fn of_those_who_share_a_subscription_one_gets_each_message() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let mut members = Vec::new();
    for name in ["one", "two"] {
        let (mut member, _) = Wire::open(daemon.port(), &connect(name))?;
        member.subscribe("$share/crew/job/+", Qos::AtLeastOnce)?;
        members.push(member);
    }
    let (mut device, _) = Wire::open(daemon.port(), &connect("device"))?;
    for number in 0..10 {
        device.publish_once("job/1", &number.to_string(), false)?;
    }
    let mut all = Vec::new();
    for member in &mut members {
        all.extend(payloads(member, 5)?);
        member.is_quiet()?;
    }
    all.sort_unstable();
    ensure!(all == (0..10).map(|number| number.to_string()).collect::<Vec<_>>(), "{all:?}");
    Ok(())
}

#[test]
fn a_will_outlives_the_daemon_and_waits_for_its_delay() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    let properties = encoded(&[Property::SessionExpiry(60)]);
    let delay = encoded(&[Property::WillDelay(1)]);
    let will = LastWill {
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: checked(Carrier::Will, &delay),
        topic: "alarm",
        payload: b"gone",
    };
    let v5 = Connect {
        version: Version::V5,
        properties: checked(Carrier::Connect, &properties),
        will: Some(will),
        ..connect("device")
    };
    let (mut listener, _) = Wire::open(daemon.port(), &connect("listener"))?;
    listener.subscribe("alarm", Qos::AtLeastOnce)?;
    // One that comes back in time has no will published.
    drop(Wire::open(daemon.port(), &v5)?);
    let (device, present) = Wire::open(daemon.port(), &v5)?;
    ensure!(present);
    again(&mut daemon, Between::Kill)?;
    drop(device);
    let (mut listener, _) = Wire::open(daemon.port(), &connect("listener"))?;
    ensure!(listener.take()?.payload == "gone");
    listener.is_quiet()
}

/// When the daemon is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Crash {
    /// The log does not know yet how far each session has come: once a second it is told.
    AtOnce,
    /// It knows.
    Later,
}

/// Two members of a group have a message each, of which one is dealt with; then the daemon is killed,
/// and the member that was done comes back alone.
fn crash_with_a_group(qos: Qos, crash: Crash) -> Result<(Daemon, Wire, Message)> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    let mut boss = Wire::open(daemon.port(), &connect("boss"))?.0;
    let mut ann = Wire::open(daemon.port(), &connect("ann"))?.0;
    ann.subscribe("$share/crew/job/+", qos)?;
    let mut bob = Wire::open(daemon.port(), &connect("bob"))?.0;
    bob.subscribe("$share/crew/job/+", qos)?;
    for job in ["1", "2"] {
        match qos {
            Qos::ExactlyOnce => boss.publish_twice("job/x", job)?,
            _ => boss.publish_once("job/x", job, false)?,
        }
    }
    let open = ann.message()?;
    ensure!(bob.take()?.payload != open.payload, "one each");
    if crash == Crash::Later {
        wait::pass(PROGRESS);
    }
    daemon.kill()?;
    daemon.restart()?;
    let bob = Wire::open(daemon.port(), &connect("bob"))?.0;
    Ok((daemon, bob, open))
}

#[test]
fn what_a_member_of_a_group_has_not_acknowledged_is_not_lost_in_a_crash() -> Result<()> {
    let (_daemon, mut bob, open) = crash_with_a_group(Qos::AtLeastOnce, Crash::Later)?;
    // At QoS 1 what he has acknowledged may come again, too.
    while bob.take()?.payload != open.payload {}
    Ok(())
}

/// One member of a group comes back after a crash, and another stays away.
#[test]
fn what_a_group_has_dealt_is_not_dealt_again_at_each_start() -> Result<()> {
    for between in ALL {
        let mut daemon = Daemon::start(TRIBUTARY, "")?;
        let mut boss = Wire::open(daemon.port(), &connect("boss"))?.0;
        let mut members = Vec::new();
        for name in ["ann", "bob"] {
            let mut member = Wire::open(daemon.port(), &connect(name))?.0;
            member.subscribe("$share/crew/job/+", Qos::AtLeastOnce)?;
            members.push(member);
        }
        for job in 0..10 {
            boss.publish_once("job/x", &format!("before {job}"), false)?;
        }
        for member in &mut members {
            payloads(member, 5)?;
        }
        again(&mut daemon, between)?;
        let mut boss = Wire::open(daemon.port(), &connect("boss"))?.0;
        let mut bob = Wire::open(daemon.port(), &connect("bob"))?.0;
        for job in 0..10 {
            boss.publish_once("job/x", &format!("behind {job}"), false)?;
        }
        // What was acknowledged just before the crash may come again.
        while bob.take()?.payload != "behind 9" {}
        // It has heard what bob has said before.
        bob.publish_once("plant/1", "done", false)?;
        if between != Between::Stop {
            wait::pass(PROGRESS);
        }
        for _ in 0..2 {
            again(&mut daemon, between)?;
            bob = Wire::open(daemon.port(), &connect("bob"))?.0;
            bob.is_quiet()?;
        }
        let mut boss = Wire::open(daemon.port(), &connect("boss"))?.0;
        boss.publish_once("job/x", "new", false)?;
        ensure!(bob.take()?.payload == "new", "{between:?}");
    }
    Ok(())
}

/// The time of a session goes on over all starts, for those who share subscriptions, too.
#[test]
fn who_shares_a_subscription_and_stays_away_has_gone_with_the_first_crash() -> Result<()> {
    let properties = encoded(&[Property::SessionExpiry(5)]);
    let ann = Connect {
        version: Version::V5,
        properties: checked(Carrier::Connect, &properties),
        ..connect("ann")
    };
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    let mut member = Wire::open(daemon.port(), &ann)?.0;
    member.subscribe("$share/crew/job/+", Qos::AtLeastOnce)?;
    for number in 0..3 {
        again(&mut daemon, Between::Kill)?;
        wait::pass(Duration::from_secs(2));
        // The log knows by it how late it is.
        let mut device = Wire::open(daemon.port(), &connect("device"))?.0;
        device.publish_once("plant/1", &number.to_string(), false)?;
    }
    let (_, present) = Wire::open(daemon.port(), &ann)?;
    ensure!(!present, "six seconds are over");
    Ok(())
}

#[test]
fn what_a_member_of_a_group_has_at_qos_2_is_its_own_over_a_crash() -> Result<()> {
    for crash in [Crash::AtOnce, Crash::Later] {
        let (daemon, mut bob, open) = crash_with_a_group(Qos::ExactlyOnce, crash)?;
        bob.is_quiet()?;
        let mut ann = Wire::open(daemon.port(), &connect("ann"))?.0;
        ensure!(ann.take()?.payload == open.payload);
        ann.is_quiet()?;
    }
    Ok(())
}

/// MQTT 5 is told that there is no more room; for 3.1.1 the message is published and not kept.
#[test]
fn the_room_for_retained_messages_ends() -> Result<()> {
    const BYTES: usize = 200_000;
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let new = Connect { version: Version::V5, ..connect("new") };
    let mut new = Wire::open(daemon.port(), &new)?.0;
    let payload = "x".repeat(BYTES);
    let mut kept = 0;
    loop {
        let delivery = Delivery::AtLeastOnce { packet_id: id(1), dup: false };
        new.publish_as(&format!("state/{kept}"), &payload, delivery, true)?;
        let reason = new.next(|packet| match packet {
            Packet::PubAck(ack) => Some(ack.reason),
            _ => None,
        })?;
        if reason == Reason::QuotaExceeded {
            break;
        }
        ensure!(!reason.is_failure() && kept * BYTES < RETAINED_BYTES_MAX, "{kept}: {reason:?}");
        kept += 1;
    }
    ensure!((kept + 2) * BYTES > RETAINED_BYTES_MAX, "only {kept}");
    // What takes no room, and what makes some, is taken.
    let mut old = Wire::open(daemon.port(), &connect("old"))?.0;
    old.publish_once("state/more", &payload, true)?;
    let mut reader = Wire::open(daemon.port(), &connect("reader"))?.0;
    reader.subscribe("state/more", Qos::AtLeastOnce)?;
    reader.is_quiet()?;
    ensure!(daemon.events()?.iter().any(|event| event.topic == "state/more"));
    ensure!(daemon.status()?["mqtt"]["unretained"] == 2);
    let told = daemon.command(&["status"])?;
    ensure!(told.contains(" 2 messages not retained: "), "{told}");
    old.publish_once("state/0", "", true)?;
    old.publish_once("state/more", &payload, true)?;
    ensure!(reader.take()?.topic == "state/more");
    let mut late = Wire::open(daemon.port(), &connect("late"))?.0;
    late.subscribe("state/more", Qos::AtLeastOnce)?;
    ensure!(late.take()?.retain);
    wills_find_no_room(&daemon)
}

/// What is of no use any more takes no room: in memory, and in the file.
#[test]
fn retained_messages_that_are_over_give_up_their_room() -> Result<()> {
    const BYTES: usize = 200_000;
    const LIFE_S: u32 = 15;
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    let (payload, ends) = ("x".repeat(BYTES), [Property::MessageExpiry(LIFE_S)]);
    let (mut kept, begun) = (0, Instant::now());
    let mut wire = Wire::open(daemon.port(), &connect_5("new", Properties::NONE))?.0;
    while wire.tell((&format!("state/{kept}"), &payload), Qos::AtLeastOnce, true, &ends).is_ok() {
        kept += 1;
        ensure!(kept * BYTES < RETAINED_BYTES_MAX, "they were over too soon");
    }
    ensure!((kept + 2) * BYTES > RETAINED_BYTES_MAX, "only {kept}");
    let filling = begun.elapsed();
    wait::until("room", Duration::from_secs(u64::from(2 * LIFE_S)), || {
        Ok(wire.tell(("state/new", &payload), Qos::AtLeastOnce, true, &[]).ok())
    })?;
    // All of them are over by then.
    wait::pass(filling);
    wire.tell(("state/new", &payload), Qos::AtLeastOnce, true, &[])?;
    again(&mut daemon, Between::Kill)?;
    let (mut reader, _) = Wire::open(daemon.port(), &connect("reader"))?;
    reader.subscribe("state/#", Qos::AtLeastOnce)?;
    ensure!(reader.take()?.topic == "state/new");
    reader.is_quiet()?;
    ensure!(daemon.stop()?.success());
    let bytes = fs::metadata(daemon.data().join("sessions.redb"))?.len();
    ensure!(bytes < RETAINED_BYTES_MAX as u64 / 2, "the file has {bytes} bytes");
    Ok(())
}

/// Six of them would fit into what is left.
fn wills_find_no_room(daemon: &Daemon) -> Result<()> {
    const WILLS: usize = 100;
    let payload = "x".repeat(60_000);
    let mut witness = Wire::open(daemon.port(), &connect("witness"))?.0;
    witness.subscribe("gone/+", Qos::AtLeastOnce)?;
    for number in 0..WILLS {
        let topic = format!("gone/{number}");
        let will = LastWill {
            qos: Qos::AtLeastOnce,
            retain: true,
            properties: Properties::NONE,
            topic: &topic,
            payload: payload.as_bytes(),
        };
        let clean = Connect { clean_start: true, will: Some(will), ..connect("mortal") };
        drop(Wire::open(daemon.port(), &clean)?);
        ensure!(witness.take()?.topic == topic, "it is published");
    }
    // It is for new subscriptions that they would be kept.
    let mut late = Wire::open(daemon.port(), &connect("later"))?.0;
    late.subscribe("gone/+", Qos::AtLeastOnce)?;
    let mut kept = 0;
    while late.take().is_ok() {
        kept += 1;
    }
    ensure!(kept <= 6, "{kept} are kept");
    Ok(())
}

/// A client that is away, with a message waiting, on a daemon that was ended in order.
fn stopped_with_a_session() -> Result<Daemon> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    let mut listener = Wire::open(daemon.port(), &connect("listener"))?.0;
    listener.subscribe("plant/#", Qos::AtLeastOnce)?;
    drop(listener);
    Wire::open(daemon.port(), &connect("device"))?.0.publish_once("plant/1", "waits", true)?;
    ensure!(daemon.stop()?.success());
    Ok(daemon)
}

/// Pages of the file that have become others while nobody looked.
#[test]
fn a_file_that_has_rotted_is_set_aside_and_made_anew() -> Result<()> {
    let mut daemon = stopped_with_a_session()?;
    let file = daemon.data().join("sessions.redb");
    let mut bytes = fs::read(&file)?;
    for page in bytes[4096..].chunks_mut(4096) {
        page.fill(0xA5);
    }
    fs::write(&file, bytes)?;
    daemon.restart()?;
    let (mut listener, present) = Wire::open(daemon.port(), &connect("listener"))?;
    ensure!(present && listener.take()?.payload == "waits");
    let told =
        |daemon: &Daemon| Ok::<_, anyhow::Error>(daemon.log_lines()?.matches("damaged").count());
    ensure!(told(&daemon)? == 1 && daemon.data().join("sessions.redb.damaged").exists());
    ensure!(daemon.stop()?.success());
    daemon.restart()?;
    ensure!(told(&daemon)? == 1, "once");
    Ok(())
}

#[test]
fn a_file_that_cannot_be_written_is_told() -> Result<()> {
    const WORDS: &str = "SESSIONS ARE NOT FOLDED";
    let mut daemon = stopped_with_a_session()?;
    let file = daemon.data().join("sessions.redb");
    fs::remove_file(&file)?;
    fs::create_dir(&file)?;
    daemon.restart()?;
    let (mut listener, present) = Wire::open(daemon.port(), &connect("listener"))?;
    ensure!(present && listener.take()?.payload == "waits");
    let log = daemon.status()?["log"].take();
    ensure!(log["unfolded"].is_string(), "{log:#}");
    ensure!(daemon.command(&["status"])?.contains(WORDS));
    fs::remove_dir(&file)?;
    ensure!(daemon.stop()?.success() && file.is_file());
    daemon.restart()?;
    let log = daemon.status()?["log"].take();
    ensure!(log["unfolded"].is_null(), "{log:#}");
    ensure!(!daemon.command(&["status"])?.contains(WORDS));
    Ok(())
}
