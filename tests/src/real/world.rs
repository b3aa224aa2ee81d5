//! One test's servers: a broker, and a gateway that replicates into it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::expect::{Delivered, Expectation};
use super::gateway::{Gateway, Route};
use super::kafka::{Kafka, Listeners, Setup};
use super::scratch;

/// The two routes of most tests: what the condition selects, and everything.
pub const ROUTES: [Route; 2] =
    [Route { name: "hot", condition: "temp > 70" }, Route { name: "all", condition: "" }];
/// Any number of rounds.
pub const ALWAYS: u32 = u32::MAX;

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
        scratch::within(parent, &format!("{name}-{}", setup.name()), |dir| {
            let kafka = Kafka::start(setup, &dir.join("kafka"), Listeners::direct()?)?;
            let gateway = Gateway::start(&dir.join("gateway"), &kafka.address(), &ROUTES)?;
            test(&mut Self { dir: dir.to_owned(), kafka, gateway })
        })
    }

    /// A path in the test's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
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
