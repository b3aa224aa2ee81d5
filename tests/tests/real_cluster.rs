//! What becomes of a cluster under a gateway that goes on: leaders that are killed one after the
//! other, another transaction version, a topic deleted, the positions forgotten, all of it lost.

use core::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tributary_tests::real::expect::Expectation;
use tributary_tests::real::fleet::Fleet;
use tributary_tests::real::gateway::Gateway;
use tributary_tests::real::kafka::Setup;
use tributary_tests::real::world::{self, ALWAYS, World};
use tributary_tests::real::{cache, process, readers, scratch, wait};

const DIR: &str = env!("CARGO_TARGET_TMPDIR");
/// Readings of each device in a round.
const TAKE: usize = 1_500;
/// Kafka may take the transaction time-out and a sweep to end what was begun.
const SAYS_MAX: Duration = Duration::from_mins(3);
/// Of the three that matter, in turn.
const LEADER_KILLS: u32 = 3;
/// What a transaction needs of the cluster: the data, its coordinator, the positions'.
const LED: [&str; 3] = ["all", "__transaction_state", "__consumer_offsets"];

/// Waits until the lane of all says this.
fn wait_for_reason(gateway: &Gateway, what: &str) -> Result<()> {
    let mut last = Value::Null;
    let said = wait::until(&format!("the reason `{what}`"), SAYS_MAX, || {
        last = gateway.status()?["upstream"].take();
        Ok(last.to_string().contains(what).then_some(()))
    });
    said.with_context(|| format!("last status: {last:#}"))
}

/// Three brokers, of which the one that leads something is killed while the gateway ships.
fn survives_the_loss_of_leaders(setup: Setup) -> Result<()> {
    World::test_on_three(DIR, "leaders", setup, |world| {
        let mut random = scratch::random("leaders")?;
        let fleet = Fleet::start(world.gateway.port(), &world::endless(1_000)?);
        world.gateway.wait_for_delivery()?;
        let kills = world::rounds(LEADER_KILLS)?;
        for (led, _) in LED.iter().cycle().zip(0..kills) {
            let leader = wait::until("a leader", SAYS_MAX, || world.kafka.leader(led))?;
            wait::pass(world::moment(&mut random, Duration::from_millis(1_500)));
            world.kafka.kill_broker(leader)?;
            world.gateway.wait_for_delivery()?;
            world.kafka.restart_broker(leader)?;
            world.gateway.wait_for_delivery()?;
        }
        fleet.wait_for_summer()?;
        fleet.stop();
        let sent = world.path("sent.tsv");
        fleet.finish(&sent)?;
        world::tell(kills.into(), "kills of leaders");
        world.check(&world::expectation(&sent))
    })
}

/// A cluster at version 0 is set to 2, to 1, and to 0 again under a session of version 2, as nobody
/// should: there Kafka blocks the transactional id until it is back at 2 and the coordinator starts
/// again; the lane says so, and all comes once.
#[test]
fn follows_the_transaction_version() -> Result<()> {
    World::test(DIR, "levels", Setup::V412Tv0, |world| {
        let mut expectation = expected();
        let mut next = 1;
        let mut round = |world: &World| {
            let sent = world.round(next, TAKE)?;
            next += 1;
            Ok::<_, anyhow::Error>(sent)
        };
        expectation = expectation.sent(round(world)?);
        world.gateway.wait_until_drained()?;
        for level in [2, 1] {
            world.kafka.set_transaction_version(level)?;
            // By the session that has begun before, and by one that begins now.
            expectation = expectation.sent(round(world)?);
            world.gateway.wait_until_drained()?;
            world.gateway.kill()?;
            world.gateway.restart()?;
            expectation = expectation.sent(round(world)?);
            world.gateway.wait_until_drained()?;
        }
        world.kafka.set_transaction_version(2)?;
        world.gateway.kill()?;
        world.gateway.restart()?;
        expectation = expectation.sent(round(world)?);
        world.gateway.wait_until_drained()?;
        world.kafka.set_transaction_version(0)?;
        expectation = expectation.sent(round(world)?);
        wait_for_reason(&world.gateway, "transaction.version was changed")?;
        wait_for_reason(&world.gateway, "a restart of its coordinator helps")?;
        world.kafka.set_transaction_version(2)?;
        world.kafka.kill()?;
        world.kafka.restart()?;
        world.check(&expectation)
    })
}

/// A topic that is deleted under its route is made again, as it was made at first, and gets what came
/// since, once; the other route goes on.
fn makes_a_deleted_topic_again(setup: Setup) -> Result<()> {
    World::test(DIR, "deleted", setup, |world| {
        let first = world.round(1, TAKE)?;
        world.gateway.wait_until_drained()?;
        world.kafka.delete_topic("all")?;
        let second = world.round(2, TAKE)?;
        world.gateway.wait_until_drained()?;
        let expectation = Expectation::default()
            .sent(first)
            .sent(second)
            .route("hot", &[(1, ALWAYS, "temp > 70")])
            .route("all", &[(2, 2, "")]);
        expectation.check(&world.kafka, &world.dir).map(drop)
    })
}

/// Kafka forgets the position while the gateway, killed in the middle of its work, is down.
fn finds_what_kafka_has_forgotten(setup: Setup) -> Result<()> {
    World::test(DIR, "forgotten", setup, |world| {
        let fleet = Fleet::start(world.gateway.port(), &world::endless(2_000)?);
        let times = world::rounds(2)?;
        for _ in 0..times {
            world.gateway.wait_for_delivery()?;
            let identity = world.gateway.status()?["upstream"]["identity"].take();
            world.gateway.kill()?;
            let mut command =
                world.kafka.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand")?;
            command.args(["--delete", "--group", identity.as_str().context("an identity")?]);
            process::output(command)?;
            world.gateway.restart()?;
        }
        world.gateway.wait_for_delivery()?;
        fleet.wait_for_summer()?;
        fleet.stop();
        let sent = world.path("sent.tsv");
        fleet.finish(&sent)?;
        world::tell(times.into(), "kills of the gateway, and the position forgotten");
        world.check(&world::expectation(&sent))
    })
}

/// A position that Kafka will never end: the lane says so, and the repair ends it where the topics show. A record in
/// a topic that Kafka will never end as well: the repair says how to abort it, and then ends the rest.
fn mends_a_hanging_transaction(setup: Setup) -> Result<()> {
    let unverified = "transaction.partition.verification.enable=false\n";
    World::test_with(DIR, "hanging", (setup, unverified), |world| {
        let first = world.round(1, TAKE)?;
        hang(world, &[])?;
        let second = world.round(2, TAKE)?;
        wait_for_reason(&world.gateway, "hanging transaction")?;
        world.gateway.command(&["upstream", "repair"])?;

        hang(world, &["--topic", "all"])?;
        let third = world.round(3, TAKE)?;
        wait_for_reason(&world.gateway, "hanging transaction")?;
        let Err(refused) = world.gateway.command(&["upstream", "repair"]) else {
            bail!("it was mended although nobody can read what is behind it")
        };
        let told = format!("{refused:#}");
        let abort = told.split_once("kafka-transactions.sh ").and_then(|it| it.1.lines().next());
        let mut abort_now = world.kafka.java("org.apache.kafka.tools.TransactionsCommand")?;
        abort_now.args(abort.with_context(|| told.clone())?.split_whitespace());
        process::output(abort_now)?;
        world.gateway.command(&["upstream", "repair"])?;

        world.gateway.wait_until_drained()?;
        world.gateway.kill()?;
        world.gateway.restart()?;
        let fourth = world.round(4, TAKE)?;
        world.check(&expected().sent(first).sent(second).sent(third).sent(fourth))
    })
}

/// Restarts the gateway under a transaction of its own that nobody will end.
fn hang(world: &mut World, more: &[&str]) -> Result<()> {
    world.gateway.wait_until_drained()?;
    let identity = world.gateway.status()?["upstream"]["identity"].take();
    world.gateway.kill()?;
    let mut hang = cache::python("hang.py");
    hang.args(["--broker", &world.kafka.address(), "--offset", "1000000"]);
    hang.args(["--id", identity.as_str().context("an identity")?]).args(more);
    process::output(hang)?;
    world.gateway.restart()
}

/// Settings of a topic that endanger what it has are found, and the commands that are told mend them.
fn has_topics_mended(setup: Setup) -> Result<()> {
    World::test(DIR, "settings", setup, |world| {
        let endangered = ["retention.ms=3600000", "unclean.leader.election.enable=true"];
        world.kafka.create_topic_with("all", 1, &endangered)?;
        world.kafka.create_topic("hot", 1)?;
        let found = settings(&world.gateway)?;
        let is_wrong = |finding: &&Value| finding["ok"] == false;
        ensure!(found.iter().filter(is_wrong).count() == endangered.len(), "{found:?}");
        for finding in found.iter().filter(is_wrong) {
            let told = finding["mend"][0].as_str().context("a command")?;
            let (_, arguments) = told
                .strip_prefix("kafka-configs ")
                .and_then(|rest| rest.split_once(" --command-config admin.properties "))
                .with_context(|| told.to_owned())?;
            let mut command = world.kafka.tool("kafka.admin.ConfigCommand")?;
            command.args(arguments.split_whitespace());
            process::output(command)?;
        }
        let found = settings(&world.gateway)?;
        let words: Vec<&str> = found.iter().filter_map(|it| it["words"].as_str()).collect();
        let [all, hot] = words[..] else { anyhow::bail!("{found:?}") };
        ensure!(all.starts_with("all: kept for 1 h, stamped by LogAppendTime, "), "{all}");
        ensure!(hot.starts_with("hot: kept for 7 d, stamped by CreateTime, "), "{hot}");
        Ok(())
    })
}

/// What `upstream check` finds of the topics' settings.
fn settings(gateway: &Gateway) -> Result<Vec<Value>> {
    let found = gateway.try_command(&["upstream", "check", "--json"])?;
    let found = found.lines().map(|line| Ok(serde_json::from_str::<Value>(line)?));
    let found: Vec<Value> = found.collect::<Result<_>>()?;
    Ok(found.into_iter().filter(|finding| finding["step"] == "settings").collect())
}

/// The cluster is lost while the gateway ships, and another stands in its place: some of what had been
/// acknowledged is gone with the first; all else comes once, in order, without a hole.
fn goes_on_in_a_cluster_that_was_rebuilt(setup: Setup) -> Result<()> {
    World::test(DIR, "rebuilt", setup, |world| {
        let fleet = Fleet::start(world.gateway.port(), &world::endless(2_000)?);
        world.gateway.wait_for_delivery()?;
        let settled = world.gateway.status()?["upstream"]["settled"].as_u64().context("settled")?;
        world.kafka.rebuild()?;
        world.gateway.wait_for_delivery()?;
        fleet.stop();
        fleet.finish(&world.path("sent.tsv"))?;
        world.gateway.wait_until_drained()?;
        let offsets = readers::read(&world.kafka, "all", &world.dir)?.offsets()?;
        let first = *offsets.first().context("the new cluster has records")?;
        let durable = world.gateway.status()?["log"]["durable"].as_u64().context("durable")?;
        // The lane knows for sure only what the log had noted when the first cluster went.
        ensure!(first <= settled, "{first} is behind {settled}, which the first cluster had");
        ensure!(offsets.iter().copied().eq(first..durable), "a hole, or one twice: {offsets:?}");
        Ok(())
    })
}

/// Both routes, all rounds.
fn expected() -> Expectation {
    Expectation::default()
        .route("hot", &[(1, ALWAYS, "temp > 70")])
        .route("all", &[(1, ALWAYS, "")])
}

tributary_tests::on_both_releases! {
    survives_the_loss_of_leaders
    makes_a_deleted_topic_again
    finds_what_kafka_has_forgotten
    mends_a_hanging_transaction
    has_topics_mended
    goes_on_in_a_cluster_that_was_rebuilt
}
