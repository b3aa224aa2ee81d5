//! The main job while everything breaks: the gateway and the broker are killed, connections are
//! cut, and the bad day of a gateway. Devices send all the while; the checker allows nothing.

use core::time::Duration;

use anyhow::{Result, ensure};
use tributary_tests::real::fleet::Fleet;
use tributary_tests::real::gateway::Gateway;
use tributary_tests::real::kafka::{Kafka, Listeners, Setup};
use tributary_tests::real::namespace;
use tributary_tests::real::process::Process;
use tributary_tests::real::proxy::{Proxy, Weather};
use tributary_tests::real::world::{self, ROUTES, World};
use tributary_tests::real::{cache, ports, scratch, wait};

const DIR: &str = env!("CARGO_TARGET_TMPDIR");
const GATEWAY_KILLS: u32 = 8;
const BROKER_KILLS: u32 = 4;
const CUTS: u32 = 20;
/// Of bad links.
const SPELLS: u32 = 3;
const SPELL_MIN: Duration = Duration::from_secs(2);
/// Longer than a request or a transaction may take: sessions are lost.
const OUTAGE_MIN: Duration = Duration::from_secs(16);
/// What is added to it at random, at most.
const SPELL_MORE: Duration = Duration::from_secs(4);
const CUTS_MAX: Duration = Duration::from_mins(4);
/// Readings per second of the bad day.
const BAD_DAY_RATE: u32 = 3_000;
const PAHO_MAX: Duration = Duration::from_mins(4);

/// SIGKILL of the gateway at random moments while the devices send, most of them while it ships.
fn survives_kills_of_the_gateway(setup: Setup) -> Result<()> {
    World::test(DIR, "gateway-kills", setup, |world| {
        let mut random = scratch::random("gateway kills")?;
        let fleet = Fleet::start(world.gateway.port(), &world::endless(1_500)?);
        let kills = world::rounds(GATEWAY_KILLS)?;
        for _ in 0..kills {
            // It must have taken something since the last kill, or the kill proves nothing.
            fleet.wait_for(50)?;
            wait::pass(world::moment(&mut random, Duration::from_millis(1_500)));
            world.gateway.kill()?;
            world.gateway.restart()?;
        }
        fleet.wait_for_summer()?;
        fleet.stop();
        let sent = world.path("sent.tsv");
        fleet.finish(&sent)?;
        world::tell(kills.into(), "kills of the gateway");
        world.check(&world::expectation(&sent))?;
        world.gateway.stop()
    })
}

/// The same with paho's devices, which end by themselves: as many kills as fit.
fn survives_kills_under_paho(setup: Setup) -> Result<()> {
    World::test(DIR, "paho-kills", setup, |world| {
        let mut random = scratch::random("gateway kills under paho")?;
        let sent = world.path("sent.tsv");
        let mut paho = cache::python("publish.py");
        paho.args(["--port", &world.gateway.port().to_string(), "--rounds", "1"]);
        paho.args(["--rate", "1500", "--out"]).arg(&sent);
        let mut paho = Process::start("paho", paho, &world.path("paho.log"))?;
        let mut kills = 0_u32;
        while paho.check_running().is_ok() {
            wait::pass(world::moment(&mut random, Duration::from_secs(2)));
            world.gateway.kill()?;
            world.gateway.restart()?;
            kills += 1;
        }
        paho.succeed(PAHO_MAX)?;
        ensure!(kills >= 5, "only {kills} kills during the replay");
        world::tell(kills.into(), "kills of the gateway");
        world.check(&world::expectation(&sent))
    })
}

/// SIGKILL of the broker at random moments while the gateway ships.
fn survives_kills_of_the_broker(setup: Setup) -> Result<()> {
    World::test(DIR, "broker-kills", setup, |world| {
        let mut random = scratch::random("broker kills")?;
        let fleet = Fleet::start(world.gateway.port(), &world::endless(1_500)?);
        let kills = world::rounds(BROKER_KILLS)?;
        for _ in 0..kills {
            world.gateway.wait_for_delivery()?;
            wait::pass(world::moment(&mut random, Duration::from_millis(1_500)));
            world.kafka.kill()?;
            world.kafka.restart()?;
        }
        world.gateway.wait_for_delivery()?;
        fleet.wait_for_summer()?;
        fleet.stop();
        let sent = world.path("sent.tsv");
        fleet.finish(&sent)?;
        world::tell(kills.into(), "kills of the broker");
        world.check(&world::expectation(&sent))
    })
}

/// The bridge's connections are cut at random byte positions, in requests and in answers.
fn survives_cut_connections(setup: Setup) -> Result<()> {
    behind_a_proxy("cuts", setup, |proxy, _, _| {
        proxy.set(Weather::Cutting);
        let cuts = u64::from(world::rounds(CUTS)?);
        let limit = CUTS_MAX * world::rounds(1)?;
        wait::until("the cuts", limit, || Ok((proxy.cuts() >= cuts).then_some(())))?;
        proxy.set(Weather::Clear);
        world::tell(cuts, "connections cut");
        Ok(())
    })
}

/// The link stalls until sessions are lost, delays what it carries, and drips a byte a second.
fn survives_bad_links(setup: Setup) -> Result<()> {
    let late = Weather::Late(Duration::from_millis(600));
    behind_a_proxy("links", setup, |proxy, gateway, random| {
        let spells = world::rounds(SPELLS)?;
        let weathers =
            [(Weather::Stalled, OUTAGE_MIN), (late, SPELL_MIN), (Weather::Dripping, SPELL_MIN)];
        gateway.wait_for_delivery()?;
        for ((weather, least), _) in weathers.iter().cycle().zip(0..spells) {
            proxy.set(*weather);
            wait::pass(*least + world::moment(random, SPELL_MORE));
            proxy.set(Weather::Clear);
            gateway.wait_for_delivery()?;
        }
        world::tell(spells.into(), "spells of bad links");
        sessions_were_lost(gateway)
    })
}

/// Nothing gets through until sessions are lost, every third packet is lost, connections are reset.
fn survives_partitions(setup: Setup) -> Result<()> {
    namespace::in_a_network(&setup.test("survives_partitions"), || {
        let mut random = scratch::random("partitions")?;
        let port = ports::free()?;
        among_devices("partitions", setup, (port, port), |gateway| {
            let both = |what: &str| format!("tcp dport {port} {what}; tcp sport {port} {what};");
            let harms = [
                (both("drop"), OUTAGE_MIN),
                (both("numgen random mod 100 < 33 drop"), SPELL_MIN),
                (format!("tcp dport {port} reject with tcp reset;"), SPELL_MIN),
            ];
            let spells = world::rounds(SPELLS)?;
            gateway.wait_for_delivery()?;
            for ((rules, least), _) in harms.iter().cycle().zip(0..spells) {
                namespace::filter(rules)?;
                wait::pass(*least + world::moment(&mut random, SPELL_MORE));
                namespace::filter("")?;
                gateway.wait_for_delivery()?;
            }
            world::tell(spells.into(), "spells of partitions");
            sessions_were_lost(gateway)
        })
    })
}

/// Or what was done to the link proves little.
fn sessions_were_lost(gateway: &Gateway) -> Result<()> {
    let counters = gateway.status()?["upstream"]["counters"].take();
    ensure!(counters["sessions"].as_u64() > Some(1), "no session was lost: {counters}");
    Ok(())
}

/// Something is done to the connections of the bridge by a proxy that all of them pass.
fn behind_a_proxy(
    name: &str,
    setup: Setup,
    harm: impl FnOnce(&Proxy, &Gateway, &mut fastrand::Rng) -> Result<()>,
) -> Result<()> {
    let mut random = scratch::random(name)?;
    let (own, announced) = (ports::free()?, ports::free()?);
    let proxy = Proxy::start(announced, own, random.fork())?;
    among_devices(name, setup, (own, announced), |gateway| harm(&proxy, gateway, &mut random))
}

/// Devices send while something is done, and Kafka must have all of it. For the gateway the broker listens on a port of
/// its own, and announces itself at another.
fn among_devices(
    name: &str,
    setup: Setup,
    (own, announced): (u16, u16),
    harm: impl FnOnce(&Gateway) -> Result<()>,
) -> Result<()> {
    scratch::within(DIR, &format!("{name}-{}", setup.name()), |dir| {
        let listeners = Listeners { proxied: Some((own, announced)), ..Listeners::direct()? };
        let kafka = Kafka::start(setup, &dir.join("kafka"), listeners)?;
        let upstream = format!("127.0.0.1:{announced}");
        let mut gateway = Gateway::start(&dir.join("gateway"), &upstream, &ROUTES)?;

        let fleet = Fleet::start(gateway.port(), &world::endless(1_000)?);
        harm(&gateway)?;
        fleet.wait_for_summer()?;
        fleet.stop();
        let sent = dir.join("sent.tsv");
        fleet.finish(&sent)?;
        world::check(&gateway, &kafka, dir, &world::expectation(&sent))?;
        gateway.stop()
    })
}

/// Kafka away at 3 s, the gateway killed at 7 s, both back: nothing lost, nothing doubled.
fn survives_the_bad_day(setup: Setup) -> Result<()> {
    World::test(DIR, "bad-day", setup, |world| {
        let fleet = Fleet::start(world.gateway.port(), &world::endless(BAD_DAY_RATE)?);
        wait::pass(Duration::from_secs(3));
        world.kafka.kill()?;
        wait::pass(Duration::from_secs(4));
        world.gateway.kill()?;
        wait::pass(Duration::from_secs(1));
        world.gateway.restart()?;
        wait::pass(Duration::from_secs(4));
        world.kafka.restart()?;
        wait::pass(Duration::from_secs(3));
        fleet.stop();
        let sent = world.path("sent.tsv");
        let readings = fleet.finish(&sent)?;
        // The devices kept up: 15 s, of which the gateway was away for one.
        ensure!(readings > 12 * u64::from(BAD_DAY_RATE), "only {readings} readings were taken");
        world.check(&world::expectation(&sent))
    })
}

tributary_tests::on_each_cluster! {
    survives_kills_of_the_gateway
    survives_kills_under_paho
    survives_kills_of_the_broker
    survives_cut_connections
    survives_bad_links
    survives_the_bad_day
}

tributary_tests::on_both_releases! {
    survives_partitions
}
