//! Routes that change in the middle of a backlog, and payloads that a condition cannot judge.

use core::time::Duration;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tributary_tests::real::expect::Expectation;
use tributary_tests::real::fleet::{Fleet, Plan};
use tributary_tests::real::gateway::{Gateway, Route};
use tributary_tests::real::kafka::Setup;
use tributary_tests::real::world::{ALWAYS, World};
use tributary_tests::real::{process, readers, readings, wait};

const DIR: &str = env!("CARGO_TARGET_TMPDIR");
const TAKES_EFFECT_MAX: Duration = Duration::from_secs(10);
/// Readings per device and round.
const TAKE: usize = 500;

const ALL: Route = Route { name: "all", condition: "" };
const HOT_70: Route = Route { name: "hot", condition: "temp > 70" };
const HOT_60: Route = Route { name: "hot", condition: "temp > 60" };
const HOT_50: Route = Route { name: "hot", condition: "temp > 50" };
const COLD: Route = Route { name: "cold", condition: "temp < 45" };
const MILD: Route = Route { name: "mild", condition: "temp > 48" };

/// Waits until `status` lists just these routes.
fn wait_for_table(gateway: &Gateway, routes: &[Route]) -> Result<()> {
    let wanted: Vec<(&str, &str)> = routes.iter().map(|r| (r.name, r.condition)).collect();
    wait::until("the new routes", TAKES_EFFECT_MAX, || {
        let status = gateway.status()?;
        let found = status["routes"].as_array().context("status lists the routes")?;
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|route| {
                (route["name"].as_str().unwrap_or(""), route["where"].as_str().unwrap_or(""))
            })
            .collect();
        Ok((found == wanted).then_some(()))
    })
}

/// With Kafka away, rounds under four tables in turn: edited, added, removed by SIGHUP; edited by a
/// changed file at an ordinary start, and at a start after SIGKILL. Shipped long after.
fn judges_by_the_table_in_force(setup: Setup) -> Result<()> {
    World::test(DIR, "tables", setup, |world| {
        world.kafka.kill()?;
        let table = [HOT_70, ALL, COLD];
        world.gateway.configure(&table)?;
        world.gateway.reload()?;
        wait_for_table(&world.gateway, &table)?;
        let first = world.round(1, TAKE)?;

        let table = [HOT_60, ALL, MILD];
        world.gateway.configure(&table)?;
        world.gateway.reload()?;
        wait_for_table(&world.gateway, &table)?;
        let second = world.round(2, TAKE)?;

        let table = [HOT_50, ALL, COLD];
        world.gateway.stop()?;
        world.gateway.configure(&table)?;
        world.gateway.restart()?;
        wait_for_table(&world.gateway, &table)?;
        let third = world.round(3, TAKE)?;

        let table = [ALL, HOT_70];
        world.gateway.kill()?;
        world.gateway.configure(&table)?;
        world.gateway.restart()?;
        wait_for_table(&world.gateway, &table)?;
        let fourth = world.round(4, TAKE)?;

        world.kafka.restart()?;
        let expectation = Expectation::default()
            .sent(first)
            .sent(second)
            .sent(third)
            .sent(fourth)
            .route("all", &[(1, 4, "")])
            .route(
                "hot",
                &[
                    (1, 1, "temp > 70"),
                    (2, 2, "temp > 60"),
                    (3, 3, "temp > 50"),
                    (4, 4, "temp > 70"),
                ],
            )
            .route("cold", &[(1, 1, "temp < 45"), (3, 3, "temp < 45")])
            .route("mild", &[(2, 2, "temp > 48")]);
        world.check(&expectation)
    })
}

/// A route is edited while devices publish: one offset divides the two conditions.
fn changes_at_one_offset(setup: Setup) -> Result<()> {
    World::test(DIR, "switch", setup, |world| {
        let devices = readings::devices()?;
        let plan = Plan { devices, first_round: 1, rounds: None, take: TAKE, rate: 10_000 };
        let fleet = Fleet::start(world.gateway.port(), &plan);
        fleet.wait_for(10_000)?;
        world.gateway.configure(&[HOT_50, ALL])?;
        world.gateway.reload()?;
        wait_for_table(&world.gateway, &[HOT_50, ALL])?;
        fleet.wait_for(10_000)?;
        fleet.stop();
        let sent = world.path("sent.tsv");
        fleet.finish(&sent)?;
        let expectation = Expectation::default()
            .sent(sent)
            .route("all", &[(1, ALWAYS, "")])
            .switched("hot", "all", ("temp > 70", "temp > 50"));
        world.check(&expectation)
    })
}

/// What no condition on `temp` can judge: no JSON, nothing, no such field, a field of another type.
const UNDECIDED: [&str; 6] =
    ["warm", "", "{\"temp\":", "{\"humidity\":80}", "{\"temp\":\"hot\"}", "{\"temp\":{\"c\":99}}"];
const DECIDED: &str = "{\"temp\":99.5}";

/// They are not selected, a counter says so, and they stay in the log and go where all goes.
fn leaves_bad_payloads_in_the_log(setup: Setup) -> Result<()> {
    World::test(DIR, "bad-payloads", setup, |world| {
        for payload in UNDECIDED.iter().chain([&DECIDED]) {
            publish(&world.gateway, payload)?;
        }
        world.gateway.wait_until_drained()?;
        let status = world.gateway.status()?;
        let hot = &status["routes"][0];
        ensure!(hot["undecided"] == UNDECIDED.len() && hot["delivered"] == 1, "{hot}");
        ensure!(values(world, "hot")? == [DECIDED], "only one is selected");
        let all: Vec<&str> = UNDECIDED.into_iter().chain([DECIDED]).collect();
        ensure!(values(world, "all")? == all, "the route without a condition takes all");
        ensure!(in_the_log(&world.gateway)? == all, "all stay in the log");
        Ok(())
    })
}

fn publish(gateway: &Gateway, payload: &str) -> Result<()> {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &gateway.port().to_string(), "-q", "1"]);
    command.args(["-t", "weather/odd/reading", "-m", payload]);
    process::output(command).map(drop)
}

/// The payloads that `tributary tail` shows.
fn in_the_log(gateway: &Gateway) -> Result<Vec<String>> {
    let text = gateway.command(&["tail", "--from", "0", "--end", "--json"])?;
    let payload = |line: &str| {
        let event: Value = serde_json::from_str(line)?;
        event["payload"].as_str().map(str::to_owned).with_context(|| line.to_owned())
    };
    text.lines().map(payload).collect()
}

fn values(world: &World, topic: &str) -> Result<Vec<String>> {
    readers::read(&world.kafka, topic, &world.dir)?.values()
}

tributary_tests::on_each_cluster! {
    judges_by_the_table_in_force
    changes_at_one_offset
    leaves_bad_payloads_in_the_log
}
