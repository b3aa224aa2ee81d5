//! One test's servers: a broker, and a gateway that replicates into it.

use core::time::Duration;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::expect::{Delivered, Expectation};
use super::fleet::{Fleet, Plan};
use super::gateway::{Gateway, Route};
use super::kafka::{Kafka, Listeners, Setup};
use super::{readings, scratch};

/// The two routes of most tests: what the condition selects, and everything.
pub const ROUTES: [Route; 2] =
    [Route { name: "hot", condition: "temp > 70" }, Route { name: "all", condition: "" }];
/// Readings per second of a round, all devices together.
const ROUND_RATE: u32 = 10_000;
/// Any number of rounds.
pub const ALWAYS: u32 = u32::MAX;

/// How many faults of a kind: `TRIBUTARY_ROUNDS` times as many as in an ordinary run.
///
/// # Errors
/// The variable is not a number.
pub fn rounds(ordinary: u32) -> Result<u32> {
    match std::env::var("TRIBUTARY_ROUNDS") {
        Ok(times) => Ok(ordinary * times.parse::<u32>().context("TRIBUTARY_ROUNDS")?),
        Err(_) => Ok(ordinary),
    }
}

/// Tells how many faults of a kind there were, for `tests/faults`, which adds them up.
pub fn tell(count: u64, what: &str) {
    println!("{count} {what}");
}

/// Rounds without end, at a rate that leaves the machine to the servers.
///
/// # Errors
/// The readings are not in the cache.
pub fn endless(rate: u32) -> Result<Plan> {
    Ok(Plan { devices: readings::devices()?, first_round: 1, rounds: None, take: usize::MAX, rate })
}

/// By [`ROUTES`], of what was sent as long as they were in force.
#[must_use]
pub fn expectation(sent: &Path) -> Expectation {
    Expectation::default()
        .sent(sent.to_owned())
        .route("hot", &[(1, ALWAYS, "temp > 70")])
        .route("all", &[(1, ALWAYS, "")])
}

/// A moment between 20 ms and `max`.
pub fn moment(random: &mut fastrand::Rng, max: Duration) -> Duration {
    let max = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random.u64(20..max))
}

/// The servers.
#[derive(Debug)]
pub struct World {
    /// The test's directory.
    pub dir: PathBuf,
    /// The broker.
    pub kafka: Kafka,
    /// The gateway.
    pub gateway: Gateway,
}

impl World {
    /// Runs a test on new servers, with [`ROUTES`], in a directory of its own under `parent`.
    ///
    /// # Errors
    /// The test's own, and what hinders the servers.
    pub fn test(
        parent: &str,
        name: &str,
        setup: Setup,
        test: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        Self::test_with(parent, name, (setup, ""), test)
    }

    /// The same on a broker with more lines in its `server.properties`.
    ///
    /// # Errors
    /// The test's own, and what hinders the servers.
    pub fn test_with(
        parent: &str,
        name: &str,
        (setup, more): (Setup, &str),
        test: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        Self::test_on(parent, name, setup, test, |dir| {
            Kafka::start_with(setup, dir, Listeners::direct()?, more)
        })
    }

    /// The same on a cluster of three brokers.
    ///
    /// # Errors
    /// The test's own, and what hinders the servers.
    pub fn test_on_three(
        parent: &str,
        name: &str,
        setup: Setup,
        test: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        Self::test_on(parent, name, setup, test, |dir| Kafka::start_three(setup, dir))
    }

    fn test_on(
        parent: &str,
        name: &str,
        setup: Setup,
        test: impl FnOnce(&mut Self) -> Result<()>,
        start: impl FnOnce(&Path) -> Result<Kafka>,
    ) -> Result<()> {
        scratch::within(parent, &format!("{name}-{}", setup.name()), |dir| {
            let kafka = start(&dir.join("kafka"))?;
            let gateway = Gateway::start(&dir.join("gateway"), &kafka.address(), &ROUTES)?;
            test(&mut Self { dir: dir.to_owned(), kafka, gateway })
        })
    }

    /// A path in the test's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// One round of so many readings of each device; all are acknowledged when this returns, and
    /// what follows is judged after them.
    ///
    /// # Errors
    /// One is not acknowledged in time.
    pub fn round(&self, number: u32, take: usize) -> Result<PathBuf> {
        let plan = Plan {
            devices: readings::devices()?,
            first_round: number,
            rounds: Some(1),
            take,
            rate: ROUND_RATE,
        };
        let file = self.path(&format!("round-{number}.tsv"));
        Fleet::start(self.gateway.port(), &plan).finish(&file)?;
        Ok(file)
    }

    /// Waits for an empty backlog and has the checker compare; then the gateway's own account must
    /// name the same numbers.
    ///
    /// # Errors
    /// What is not as it must be.
    pub fn check(&self, expectation: &Expectation) -> Result<()> {
        check(&self.gateway, &self.kafka, &self.dir, expectation)
    }
}

/// See [`World::check`].
///
/// # Errors
/// What is not as it must be.
pub fn check(
    gateway: &Gateway,
    kafka: &Kafka,
    dir: &Path,
    expectation: &Expectation,
) -> Result<()> {
    gateway.wait_until_drained()?;
    let delivered = expectation.check(kafka, dir)?;
    check_account(gateway, &delivered)
}

/// Promise 5 of the gateway, for what it says of its routes.
fn check_account(gateway: &Gateway, delivered: &Delivered) -> Result<()> {
    let status = gateway.status()?;
    let durable = status["log"]["durable"].as_u64().context("status tells what is durable")?;
    for (route, in_kafka) in delivered {
        let account = status["routes"]
            .as_array()
            .and_then(|routes| routes.iter().find(|account| account["name"] == *route));
        // A route that was removed has no account any more.
        let Some(account) = account else { continue };
        let number =
            |name: &str| account[name].as_u64().with_context(|| format!("{route}: {name}"));
        let (begin, ingested) = (number("begin")?, number("ingested")?);
        ensure!(begin + ingested == durable, "{route}: ingested: {account}");
        ensure!(number("delivered")? == *in_kafka, "{route}: {in_kafka} in Kafka: {account}");
        ensure!(number("filtered")? + in_kafka == ingested, "{route}: filtered: {account}");
        ensure!(number("lost")? + number("pending")? == 0, "{route}: lost, pending: {account}");
    }
    Ok(())
}
