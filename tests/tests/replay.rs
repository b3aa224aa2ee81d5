//! Dead letters that are put back on their way: each once, over kills and power cuts at any moment.

use core::ops::Range;
use core::time::Duration;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tributary::config::Lane;
use tributary::replicate::lane::Burial;
use tributary::replicate::letter::{Fate, First, Letter};
use tributary::runtime::clock::Moment;
use tributary::runtime::dead_letters::{Back, DeadLetters, Input, Wanted};
use tributary::runtime::opening::{Recovered, recover};
use tributary::runtime::stream::Stream;
use tributary_bridge::Undeliverable;
use tributary_cluster::{Cluster, Kafka, Served, Settings, TopicSettings, TransactionVersion};
use tributary_core::Offset;
use tributary_core::log::{Entropy, Frame, Geometry, Item, Reader};
use tributary_core::properties::Properties;
use tributary_core::record::{self, Event, Origin, Qos};
use tributary_core::time::{Instant, Timestamp};
use tributary_tests::daemon::Daemon;
use tributary_tests::delivery::{Record, committed};
use tributary_tests::device::Device;
use tributary_tests::disk::{Cut, Disk};
use tributary_tests::wire::{Wire, connect};
use tributary_tests::{scratch, wait};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
/// Three batches of letters.
const READINGS: usize = 600;
const KILLS: usize = 5;
const UNDER_WAY_MAX: Duration = Duration::from_secs(30);
const TOPIC: &str = "plant/1/telemetry";
const SECTIONS: &str = "[[route]]\nfrom = \"plant/#\"\ntopic = \"all\"\n\
    [[route]]\nfrom = \"plant/#\"\ntopic = \"keyed\"\nkey = \"serial\"\n\
    [[route]]\nfrom = \"plant/#\"\ntopic = \"other\"\nkey = \"serial\"\nwhere = \"seq < 3\"\n";

fn cluster() -> Result<(Served, String)> {
    let kafka = Kafka::V4_1_2(TransactionVersion::V2);
    let mut cluster = Cluster::new(Settings { kafka, ..Settings::default() });
    let keyed = TopicSettings { compacted: true, ..TopicSettings::default() };
    for (name, topic) in [("all", TopicSettings::default()), ("keyed", keyed), ("other", keyed)] {
        cluster.create_topic(name, topic).ok().context("a new topic")?;
    }
    let served = Served::start(cluster)?;
    let brokers: Vec<String> = served.addresses().iter().map(|a| format!("\"{a}\"")).collect();
    let upstream = format!("[upstream]\nbrokers = [{}]\n", brokers.join(", "));
    Ok((served, upstream))
}

fn allow(served: &Served, topic: &str) -> Result<()> {
    let allowed = |cluster: &mut Cluster| cluster.alter_topic(topic, TopicSettings::default());
    served.with(allowed).ok().context("the topic is there")
}

fn replay(daemon: &Daemon, args: &[&str]) -> Result<Value> {
    let all = [&["replay", "dead-letter", "--json"], args].concat();
    Ok(serde_json::from_str(&daemon.command(&all)?)?)
}

fn readings(count: usize) -> Vec<String> {
    (0..count).map(|seq| format!("{{\"seq\":{seq}}}")).collect()
}

fn header<'r>(record: &'r Record, name: &str) -> Option<&'r str> {
    let mut found = record.headers.iter().filter(|(other, _)| other == name);
    found.next().map(|(_, value)| value.as_str())
}

/// Letters put back are the records that they would have been, in order; nobody else gets them.
#[test]
fn what_is_put_back_is_the_record_that_it_would_have_been() -> Result<()> {
    let (served, upstream) = cluster()?;
    let daemon = Daemon::start(TRIBUTARY, &(upstream + SECTIONS))?;
    Device::publish(daemon.port(), TOPIC, readings(6))?;
    daemon.drain()?;
    ensure!(committed(&served, "keyed")?.is_empty() && committed(&served, "other")?.is_empty());
    let before = committed(&served, "all")?;
    let events = daemon.events()?.len();

    let dry = replay(&daemon, &["--dry-run"])?;
    ensure!(
        dry["put_back"] == 9 && dry["wanted"] == 9 && daemon.events()?.len() == events,
        "{dry}"
    );
    allow(&served, "keyed")?;
    let some = replay(&daemon, &["--route", "keyed", "--from", "1", "--to", "8", "plant/+/#"])?;
    let part = some["put_back"].as_u64().context("a number")?;
    ensure!(part > 0 && part < 6 && some["without_route"] == 0, "{some}");
    ensure!(replay(&daemon, &["--route", "keyed"])?["put_back"] == 6 - part);
    ensure!(replay(&daemon, &["--route", "keyed"])?["before"] == 6);
    ensure!(replay(&daemon, &["--until", "2026-01-01"])?["wanted"] == 0);
    daemon.drain()?;
    let records = committed(&served, "keyed")?;
    let offsets: BTreeSet<u64> = records.iter().map(Record::offset).collect::<Result<_>>()?;
    ensure!(records.len() == 6 && offsets == (0..6).collect(), "{records:?}");
    for record in &records {
        let twin = before.iter().find(|twin| twin.value == record.value).context("a twin")?;
        for name in ["time", "mqtt.topic", "tributary.offset", "tributary.gateway"] {
            ensure!(header(record, name) == header(twin, name), "{name}: {record:?} and {twin:?}");
        }
        let own = |(name, _): &(String, String)| name.starts_with("mqtt.user");
        ensure!(!record.headers.iter().any(own), "{record:?}");
    }
    ensure!(committed(&served, "all")? == before, "another route has it twice");

    // Refused again: another letter, which can be put back, and still tells which event it was.
    let again = replay(&daemon, &[])?;
    ensure!(again["put_back"] == 3 && again["before"] == 6, "{again}");
    daemon.drain()?;
    let status = daemon.status()?;
    ensure!(status["log"]["dead_letters"][1] == 12, "{status:#}");
    allow(&served, "other")?;
    ensure!(replay(&daemon, &[])?["put_back"] == 3);
    daemon.drain()?;
    let mut offsets: Vec<u64> =
        committed(&served, "other")?.iter().map(Record::offset).collect::<Result<_>>()?;
    offsets.sort_unstable();
    ensure!(offsets == [0, 1, 2], "{offsets:?}");
    Ok(())
}

#[test]
fn letters_of_routes_that_are_gone_stay() -> Result<()> {
    let (served, upstream) = cluster()?;
    let mut daemon = Daemon::start(TRIBUTARY, &(upstream.clone() + SECTIONS))?;
    Device::publish(daemon.port(), TOPIC, readings(3))?;
    daemon.drain()?;
    let one = "[[route]]\nfrom = \"plant/#\"\ntopic = \"all\"\n";
    daemon.reload(&(upstream.clone() + one), &["all"])?;
    ensure!(replay(&daemon, &[])?["without_route"] == 6);
    allow(&served, "keyed")?;
    // The route is back, and selects something else: what it selected then is not judged again.
    let back = format!("{one}[[route]]\nfrom = \"none\"\nname = \"keyed\"\ntopic = \"keyed\"\n");
    daemon.reload(&(upstream + &back), &["all", "keyed"])?;
    ensure!(replay(&daemon, &[])?["put_back"] == 3);
    daemon.drain()?;
    ensure!(committed(&served, "keyed")?.len() == 3);
    Ok(())
}

#[test]
fn subscribers_do_not_get_it_again() -> Result<()> {
    let (served, upstream) = cluster()?;
    let daemon = Daemon::start(TRIBUTARY, &(upstream + SECTIONS))?;
    Device::publish(daemon.port(), TOPIC, readings(2))?;
    daemon.drain()?;
    allow(&served, "keyed")?;
    let lasting = connect("away");
    let (mut away, _) = Wire::open(daemon.port(), &lasting)?;
    away.subscribe("plant/#", Qos::AtLeastOnce)?;
    drop(away);
    let (mut there, _) = Wire::open(daemon.port(), &connect("there"))?;
    there.subscribe("plant/#", Qos::AtLeastOnce)?;
    ensure!(replay(&daemon, &["--route", "keyed"])?["put_back"] == 2);
    Device::publish(daemon.port(), TOPIC, vec!["last".to_owned()])?;
    let (mut away, _) = Wire::open(daemon.port(), &lasting)?;
    for wire in [&mut there, &mut away] {
        let message = wire.take()?;
        ensure!(message.payload == "last", "{message:?}");
    }
    Ok(())
}

/// SIGKILL at any moment of a replay, again and again.
#[test]
fn each_letter_is_put_back_once_over_kills() -> Result<()> {
    let (served, upstream) = cluster()?;
    let mut daemon = Daemon::start(TRIBUTARY, &(upstream + SECTIONS))?;
    Device::publish(daemon.port(), TOPIC, readings(READINGS))?;
    daemon.drain()?;
    allow(&served, "keyed")?;
    let mut random = scratch::random("kills")?;
    for _ in 0..KILLS {
        let mut command = Command::new(TRIBUTARY);
        command.args(["replay", "dead-letter", "--route", "keyed", "--config"]);
        command.arg(daemon.config()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        wait::pass(Duration::from_millis(random.u64(..40)));
        daemon.kill()?;
        wait::until("the command's end", UNDER_WAY_MAX, || Ok(child.try_wait()?.map(drop)))?;
        daemon.restart()?;
    }
    let last = replay(&daemon, &["--route", "keyed"])?;
    ensure!(last["wanted"] == READINGS && last["in_doubt"] == 0, "{last}");
    daemon.drain()?;
    let records = committed(&served, "keyed")?;
    let offsets: Vec<u64> = records.iter().map(Record::offset).collect::<Result<_>>()?;
    let each: BTreeSet<u64> = offsets.iter().copied().collect();
    ensure!(offsets.len() == READINGS && each.len() == READINGS, "{} records", offsets.len());
    Ok(())
}

const GEOMETRY: Geometry = Geometry { segments: 16, segment_bytes: 128 << 10, page_bytes: 4096 };
const LETTERS: u64 = 5;
const MOMENT: Moment = Moment { now: Instant(1), wall: Timestamp(1_800_000_000_000), is_set: true };

type Open =
    Box<dyn FnMut(Moment) -> Result<Stream<Disk, tributary_tests::disk::DiskReader>, String>>;
type Letters = DeadLetters<Disk, tributary_tests::disk::DiskReader, Open>;

fn opened(disk: &Disk, generation: u32) -> Result<Recovered<Disk>, String> {
    let entropy = Entropy { log_id: 7, generation, salt: generation.into() };
    recover(disk.clone(), entropy, MOMENT).map_err(|error| error.to_string())
}

fn letters(disk: &Disk, generation: u32) -> Letters {
    let disk = disk.clone();
    DeadLetters::new(Box::new(move |_| {
        Ok(Stream::new("dead-letter", opened(&disk, generation)?, disk.reader()))
    }))
}

fn bury(letters: &mut Letters) -> Result<(), String> {
    bury_for(letters, Lane::Normal, 0..LETTERS)
}

fn bury_for(letters: &mut Letters, lane: Lane, numbers: Range<u64>) -> Result<(), String> {
    let letter = |number: u64| {
        let payload = number.to_string();
        let event = Event {
            topic: "t",
            payload: payload.as_bytes(),
            client: "c",
            time: MOMENT.wall,
            qos: Qos::AtLeastOnce,
            retain: false,
            origin: Origin::Device,
            packet_id: None,
            properties: Properties::NONE,
        };
        let (topic, error) = ("hot".into(), "E".into());
        let why = Undeliverable { offset: Offset(number), route: 1, topic, partition: 0, error };
        Letter::new(7, (&event, true), ("hot", &why))
    };
    letters.bury(MOMENT, lane, &Burial { letters: numbers.map(letter).collect() })
}

/// What one lane had kept for a transaction that was lost, another one keeps that takes the route.
#[test]
fn a_letter_of_another_lane_is_recognised() -> Result<(), String> {
    let disk = Disk::new(GEOMETRY, 7);
    let mut letters = letters(&disk, 1);
    bury_for(&mut letters, Lane::Aside1, 0..1)?;
    bury_for(&mut letters, Lane::Normal, 1..LETTERS)?;
    bury_for(&mut letters, Lane::Aside1, 1..LETTERS)?;
    assert_eq!(disk.reader().end().0.offset, Offset(LETTERS));
    Ok(())
}

/// Appends letters to the input as the daemon does, one a frame: each may be the last that is there.
fn put(input: &mut Recovered<Disk>, batch: &[Back]) {
    let clock = input.clocks.now(MOMENT);
    for back in batch {
        let event = back.event();
        let mut body = vec![0; record::encoded_len(&event, clock.wall)];
        record::encode(&event, clock.wall, &mut body);
        input.log.append(&Frame { count: 1, clock, body: &body }).expect("there is room");
    }
}

/// A replay that dies after so many steps; `None`: it came to its end.
fn live(letters: &mut Letters, input: &mut Recovered<Disk>, steps: usize) -> Result<bool, String> {
    let wanted = Wanted {
        route: None,
        filter: None,
        offsets: Offset(0)..Offset(u64::MAX),
        times: Timestamp(0)..Timestamp(i64::MAX),
    };
    let Some(mut replay) = letters.begin_replay(MOMENT, 7, wanted)? else { return Ok(true) };
    let batch = letters.next_batch(&mut replay, &|_| true);
    let since = input.log.next_offset();
    if steps == 0 {
        return Ok(false);
    }
    letters.note_replay(MOMENT, &mut replay, (&[], &batch), since)?;
    put(input, &batch[..batch.len().min(steps - 1)]);
    if steps > 1 {
        input.log.commit().map_err(|error| error.to_string())?;
    }
    if steps < 2 + batch.len() {
        return Ok(false);
    }
    let rest = letters.next_batch(&mut replay, &|_| true);
    letters.note_replay(MOMENT, &mut replay, (&[], &rest), since)?;
    Ok(true)
}

/// The process dies at each step of a replay, twice, with what a power cut leaves.
#[test]
fn each_letter_is_put_back_once_over_power_cuts() -> Result<(), String> {
    let steps = usize::try_from(LETTERS).unwrap_or(0) + 3;
    for (first, second, cut) in (0..steps * steps * Cut::ALL.len())
        .map(|n| (n % steps, n / steps % steps, Cut::ALL[n / steps / steps]))
    {
        let (stream, log) = (Disk::new(GEOMETRY, 7), Disk::new(GEOMETRY, 8));
        bury(&mut letters(&stream, 1))?;
        for (generation, steps) in [(2, first), (3, second), (4, usize::MAX)] {
            let mut input = opened(&log, generation)?;
            let mut letters = letters(&stream, generation);
            bury(&mut letters)?;
            let reader = log.reader();
            let before = Input { log_id: 7, reader: &reader, end: input.log.end() };
            letters.settle(MOMENT, &before)?;
            live(&mut letters, &mut input, steps)?;
            stream.power_cut(cut);
            log.power_cut(cut);
        }
        let mut found = Vec::new();
        let recovered = opened(&log, 9)?;
        let (mut reader, mut buffer) =
            (Reader::new(Offset(0), tributary_core::crc::crc32c), vec![0; 1 << 20]);
        while let Ok(Some(chunk)) = reader.read(&log.reader(), recovered.log.end(), &mut buffer) {
            for item in chunk {
                let Item::Events(frame) = item else { continue };
                for (_, event) in frame {
                    let fate = Fate::of_put_back(&event).expect("it was put back");
                    found.push(fate.first.and_then(First::offset).map(|at| at.0));
                }
            }
        }
        let all: Vec<Option<u64>> = (0..LETTERS).map(Some).collect();
        assert_eq!(found, all, "cut after {first}, then {second} steps, {cut:?}");
    }
    Ok(())
}
