//! Commands outlive telemetry: who was away for longer than the log reaches back gets each of them all the same, over
//! kills, power cuts and disks that fail.

use core::time::Duration;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use tributary::runtime::clock::Moment;
use tributary::runtime::commands::{Commands, Fresh, Kept};
use tributary::runtime::opening::{Recovered, recover};
use tributary::runtime::stream::Stream;
use tributary_cluster::{Cluster, ReadRecord, Served, Settings, TopicSettings};
use tributary_core::Offset;
use tributary_core::log::{Clock, Entropy, Frame, Geometry};
use tributary_core::properties::Properties;
use tributary_core::record::{self, Event, Origin, Qos};
use tributary_core::time::{Age, Instant, Timestamp};
use tributary_mqtt::codec::publish::Delivery;
use tributary_tests::daemon::{Daemon, GATEWAY};
use tributary_tests::device::Device;
use tributary_tests::disk::{Cut, Disk, DiskReader};
use tributary_tests::wait;
use tributary_tests::wire::{Wire, connect};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const ANSWER_MAX: Duration = Duration::from_secs(40);
/// More than wait in memory for one client.
const COMMANDS: usize = 1_500;
const SECTIONS: &str = "[[downlink]]\nfrom = \"commands\"\nto = \"cmd/{key}\"\n";

fn command(number: usize) -> Result<ReadRecord> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(ReadRecord {
        offset: 0,
        timestamp: Timestamp(i64::try_from(since.as_millis())?),
        key: Some(Bytes::from_static(b"pump")),
        value: Some(Bytes::from(number.to_string())),
        headers: vec![(
            Bytes::from_static(b"tributary.gateway"),
            Some(Bytes::copy_from_slice(GATEWAY.as_bytes())),
        )],
    })
}

fn await_durable(daemon: &Daemon, count: usize) -> Result<()> {
    wait::until("the events", ANSWER_MAX, || {
        Ok((daemon.status()?["log"]["durable"].as_u64() >= Some(count as u64)).then_some(()))
    })
}

/// All commands come, in order.
fn take_all(wire: &mut Wire, numbers: core::ops::Range<usize>) -> Result<()> {
    for number in numbers {
        let message = wire.take().with_context(|| format!("command {number}"))?;
        ensure!(message.payload == number.to_string(), "{number}: {message:?}");
    }
    wire.is_quiet()
}

#[test]
fn who_was_away_for_longer_than_the_log_reaches_back_gets_all_commands() -> Result<()> {
    // More than the log of a test holds.
    const LARGE: usize = 9_000;
    const TELEMETRY: usize = 8_000;
    let mut cluster = Cluster::new(Settings::default());
    let created = cluster.create_topic("commands", TopicSettings::default());
    created.map_err(|error| anyhow!("{error:?}"))?;
    let served = Served::start(cluster)?;
    let brokers: Vec<String> = served.addresses().iter().map(|a| format!("\"{a}\"")).collect();
    let sections = format!("[upstream]\nbrokers = [{}]\n{SECTIONS}", brokers.join(", "));
    let mut daemon = Daemon::start(TRIBUTARY, &sections)?;
    wait::until("the downlink", ANSWER_MAX, || {
        Ok((daemon.status()?["downlinks"][0]["live"] == true).then_some(()))
    })?;
    let subscribe = |name, filter: &str| -> Result<Wire> {
        let (mut wire, _) = Wire::open(daemon.port(), &connect(name))?;
        wire.subscribe(filter, Qos::AtLeastOnce)?;
        Ok(wire)
    };
    drop(subscribe("away", "#")?);
    drop(subscribe("shares", "$share/group/cmd/#")?);
    drop(subscribe("holds", "cmd/#")?);
    let records: Vec<ReadRecord> = (0..COMMANDS).map(command).collect::<Result<_>>()?;
    let written = served.with(|cluster| cluster.write("commands", 0, &records));
    written.map_err(|error| anyhow!("{error:?}"))?;
    await_durable(&daemon, COMMANDS)?;
    let telemetry = vec!["7".repeat(LARGE); TELEMETRY];
    Device::publish(daemon.port(), "plant/1/telemetry", telemetry)?;
    daemon.kill()?;
    daemon.restart()?;
    let log = daemon.status()?["log"].clone();
    ensure!(log["oldest"].as_u64() > Some(COMMANDS as u64), "the log still has them: {log:#}");
    ensure!(log["commands"] == serde_json::json!([0, COMMANDS]), "{log:#}");
    let back = |name| Wire::open(daemon.port(), &connect(name));
    // One is under way to who leaves then, and comes again.
    let first = back("holds")?.0.message().context("the first")?;
    let (mut holds, _) = back("holds")?;
    let again = holds.take().context("what is under way")?;
    let is_again = matches!(again.delivery, Delivery::AtLeastOnce { dup: true, .. });
    ensure!((&*first.payload, &*again.payload) == ("0", "0") && is_again, "{again:?}");
    take_all(&mut holds, 1..COMMANDS).context("of its own")?;
    take_all(&mut back("shares")?.0, 0..COMMANDS).context("shared")?;
    let (mut away, _) = back("away")?;
    for number in 0..COMMANDS {
        let message = away.take().with_context(|| format!("command {number}"))?;
        ensure!(message.payload == number.to_string(), "{number}: {message:?}");
    }
    let kept = log["durable"].as_u64().zip(log["oldest"].as_u64()).context("two offsets")?;
    for _ in kept.1..kept.0 {
        let message = away.take().context("telemetry")?;
        ensure!(message.topic == "plant/1/telemetry", "{message:?}");
    }
    away.is_quiet()?;
    let exported = daemon.command(&["log", "export", "--stream", "downlink"])?;
    ensure!(exported.lines().count() == COMMANDS, "{} lines", exported.lines().count());
    Ok(())
}

const GEOMETRY: Geometry = Geometry { segments: 16, segment_bytes: 128 << 10, page_bytes: 4096 };
const MOMENT: Moment = Moment { now: Instant(1), wall: Timestamp(1_800_000_000_000), is_set: true };
const LOG_ID: u64 = 7;
const LIVES: u32 = 6;
const SEEDS: u64 = 300;

type Open = Box<dyn FnMut(Moment) -> Result<Stream<Disk, DiskReader>, String>>;

fn opened(disk: &Disk, generation: u32) -> Result<Recovered<Disk>, String> {
    let entropy = Entropy { log_id: LOG_ID, generation, salt: generation.into() };
    recover(disk.clone(), entropy, MOMENT).map_err(|error| error.to_string())
}

/// The stream during one life; each opening of it is a generation of its own.
fn commands(disk: &Disk, generations: &Arc<Mutex<u32>>) -> Commands<Disk, DiskReader, Open> {
    let (disk, generations) = (disk.clone(), Arc::clone(generations));
    let open: Open = Box::new(move |_| {
        let mut generation = generations.lock().map_err(|error| error.to_string())?;
        *generation += 1;
        Ok(Stream::new("downlink", opened(&disk, *generation)?, disk.reader()))
    });
    Commands::new(open, LOG_ID)
}

fn event(payload: &str, origin: Origin) -> Event<'_> {
    Event {
        topic: "t",
        payload: payload.as_bytes(),
        client: "c",
        time: MOMENT.wall,
        qos: Qos::AtLeastOnce,
        retain: false,
        origin,
        packet_id: None,
        properties: Properties::NONE,
    }
}

fn append(input: &mut Recovered<Disk>, event: &Event<'_>, clock: Clock) -> Result<(), String> {
    let mut body = vec![0; record::encoded_len(event, clock.wall)];
    record::encode(event, clock.wall, &mut body);
    let frame = Frame { count: 1, clock, body: &body };
    input.log.append(&frame).map_err(|error| error.to_string())?;
    input.log.commit().map(drop).map_err(|error| error.to_string())
}

/// Whatever fails or dies when, each command that is durable in the input has one copy, in order.
#[test]
fn each_command_has_one_copy_over_power_cuts_and_failing_disks() -> Result<(), String> {
    for seed in 0..SEEDS {
        let mut random = fastrand::Rng::with_seed(seed);
        let (stream, log) = (Disk::new(GEOMETRY, seed), Disk::new(GEOMETRY, seed + 1));
        let (generations, mut wanted) = (Arc::new(Mutex::new(0)), Vec::new());
        for life in 1..=LIVES {
            let mut input = opened(&log, life)?;
            let mut commands = commands(&stream, &generations);
            let mut is_behind = true;
            for _ in 0..random.u32(..20) {
                let (at, age) = (input.log.next_offset(), Age(u64::from(life)));
                let clock = Clock { wall: MOMENT.wall, age, trusted: true };
                let payload = at.to_string();
                let is_command = random.bool();
                let origin = if is_command { Origin::Downlink } else { Origin::Device };
                let event = event(&payload, origin);
                append(&mut input, &event, clock)?;
                if is_command {
                    wanted.push(at);
                }
                if random.u8(..8) == 0 {
                    stream.fail_after(random.u64(..4));
                }
                // As the daemon does it.
                let kept = if is_behind {
                    commands.settle(MOMENT, (&log.reader(), input.log.end()), Offset(0))
                } else if is_command {
                    commands.keep(MOMENT, &[Fresh { offset: at, clock, event }])
                } else {
                    commands.pass(MOMENT, input.log.end().offset)
                };
                is_behind = kept.is_err();
                stream.be_well();
            }
            let cut = Cut::ALL[random.usize(..Cut::ALL.len())];
            if random.bool() {
                stream.power_cut(cut);
                log.power_cut(cut);
            }
        }
        let input = opened(&log, LIVES + 1)?;
        let mut commands = commands(&stream, &generations);
        commands.settle(MOMENT, (&log.reader(), input.log.end()), Offset(0))?;
        let commands = Mutex::new(commands);
        let mut found = Vec::new();
        let full = commands.read(Offset(0)..Offset(u64::MAX), &mut |offset, event, age| {
            assert_eq!(
                (event.payload, event.origin),
                (offset.to_string().as_bytes(), Origin::Downlink)
            );
            // The clock of each opening begins behind all that was read before.
            assert!((1..=u64::from(2 * LIVES)).contains(&age.0), "its own age, {age:?}");
            found.push(offset);
            true
        });
        assert_eq!((full, &found), (None, &wanted), "seed {seed}");
        // Who has room for one gets one, and goes on there.
        if let [first, second, ..] = wanted[..] {
            let mut one = Vec::new();
            let full = commands.read(first..Offset(u64::MAX), &mut |offset, _, _| {
                one.push(offset);
                one.len() < 2
            });
            assert_eq!((full, one), (Some(second), vec![first, second]), "seed {seed}");
        }
    }
    Ok(())
}

#[test]
fn what_was_kept_can_be_read_behind_a_write_that_failed() -> Result<(), String> {
    let (stream, log) = (Disk::new(GEOMETRY, 1), Disk::new(GEOMETRY, 2));
    let mut input = opened(&log, 1)?;
    let clock = Clock { wall: MOMENT.wall, age: Age(1), trusted: true };
    let mut kept = commands(&stream, &Arc::new(Mutex::new(0)));
    append(&mut input, &event("0", Origin::Downlink), clock)?;
    kept.settle(MOMENT, (&log.reader(), input.log.end()), Offset(0))?;
    stream.cut_after(0);
    let fresh = Fresh { offset: Offset(1), clock, event: event("1", Origin::Downlink) };
    let failed = kept.keep(MOMENT, &[fresh]);
    stream.be_well();
    let (kept, mut found) = (Mutex::new(kept), Vec::new());
    let full = kept.read(Offset(0)..Offset(u64::MAX), &mut |offset, _, _| {
        found.push(offset);
        true
    });
    assert!(failed.is_err() && full.is_none());
    assert_eq!(found.first(), Some(&Offset(0)), "{found:?}");
    Ok(())
}

/// What lies far below is not read again at each start.
#[test]
fn the_stream_knows_how_far_the_input_was_copied() -> Result<(), String> {
    let (stream, log) = (Disk::new(GEOMETRY, 1), Disk::new(GEOMETRY, 2));
    let generations = Arc::new(Mutex::new(0));
    let mut input = opened(&log, 1)?;
    let clock = Clock { wall: MOMENT.wall, age: Age(1), trusted: true };
    append(&mut input, &event("1", Origin::Downlink), clock)?;
    let mut first = commands(&stream, &generations);
    first.keep(MOMENT, &[])?;
    first.pass(MOMENT, Offset(1 << 16))?;
    stream.power_cut(Cut::ALL[0]);
    let mut second = commands(&stream, &generations);
    second.settle(MOMENT, (&log.reader(), input.log.end()), Offset(0))?;
    assert_eq!(second.extent().map(|extent| extent.next), Some(Offset(0)), "it was not looked for");
    Ok(())
}
