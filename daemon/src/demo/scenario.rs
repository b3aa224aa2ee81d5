//! The story: a good start, an outage, a kill in the middle of it, and the way back.

use core::time::Duration;

use tokio::time::{Instant, sleep};

use super::DemoArgs;
use super::account::{Account, Own};
use super::display::{Display, Scene, count};
use super::failure::Failure;
use super::fleet::{Fleet, Journal, Plan};
use super::gateway::{self, Gateway};
use super::stage::Stage;
use super::upstream::Upstream;
use crate::runtime::status::Status;

/// Between two looks at how things stand.
const LOOK: Duration = Duration::from_millis(150);
/// Between two looks where a short time is measured.
const CLOSE_LOOK: Duration = Duration::from_millis(2);
/// For the gateway's first answer, at a start and after the kill.
const START_MAX: Duration = Duration::from_secs(10);
/// For the last PUBACKs, once the devices have stopped measuring.
const SETTLE_MAX: Duration = Duration::from_secs(15);
/// For the last record to be in the cluster.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// When what happens, from the start of the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Script {
    upstream_goes: Duration,
    gateway_killed: Duration,
    gateway_starts: Duration,
    upstream_returns: Duration,
    devices_stop: Duration,
}

impl Script {
    /// For a demo that is to take about so long. The gateway, which asks for the upstream less and
    /// less often, needs its time to find it back.
    fn of(seconds: u64) -> Self {
        let percent = |part: u64| Duration::from_millis(seconds * 1_000 * part / 100);
        Self {
            upstream_goes: percent(14),
            gateway_killed: percent(28),
            gateway_starts: percent(34),
            upstream_returns: percent(48),
            devices_stop: percent(84),
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The account.
    pub(super) account: Account,
    /// What became of each device's readings.
    pub(super) journals: Vec<Journal>,
    /// How long it took, from the start of the devices.
    pub(super) took: Duration,
}

/// Everything that plays a part.
struct Play<'a> {
    display: &'a mut Display,
    upstream: Upstream,
    gateway: Gateway,
    fleet: Fleet,
    started: Instant,
    scene: Scene,
}

/// Plays the whole day. Dropping the future ends everything that it started.
///
/// # Errors
/// If it cannot be played to its end. What the account finds is no error.
pub(super) async fn play(
    args: &DemoArgs,
    stage: &Stage,
    display: &mut Display,
) -> Result<Outcome, Failure> {
    let script = Script::of(args.seconds);
    let upstream = Upstream::start().map_err(Failure::system("serve the Kafka stand-in"))?;
    let events = args.rate * args.seconds;
    let mut gateway = Gateway::prepare(stage, &upstream.bootstrap(), events)?;
    gateway.start()?;
    await_answer(&mut gateway).await?;
    display.open(args, stage, &gateway, &upstream);
    let fleet =
        Fleet::start(Plan { gateway: gateway.address(), devices: args.devices, rate: args.rate });
    let started = Instant::now();
    let scene = Scene::default();
    let mut play = Play { display, upstream, gateway, fleet, started, scene };
    play.bad_day(&script).await?;
    play.end().await
}

/// Waits until a gateway that was started tells how it stands.
async fn await_answer(gateway: &mut Gateway) -> Result<(), Failure> {
    let asked = Instant::now();
    while gateway.status().await.is_none() {
        gateway.check()?;
        if asked.elapsed() > START_MAX {
            let what = "the gateway's first answer";
            return Err(Failure::Late { what, limit: START_MAX, state: String::new() });
        }
        sleep(CLOSE_LOOK).await;
    }
    Ok(())
}

impl Play<'_> {
    async fn bad_day(&mut self, script: &Script) -> Result<(), Failure> {
        self.watch_until(script.upstream_goes).await?;
        self.upstream.go_away();
        self.tell("the upstream goes away").await?;

        self.watch_until(script.gateway_killed).await?;
        let waiting = self.fleet.tally();
        self.gateway.kill()?;
        let waiting = waiting.published - waiting.acknowledged;
        let waiting = count(waiting, "publish waits for its", "publishes wait for their");
        self.tell(&format!("the gateway is killed (SIGKILL): {waiting} PUBACK")).await?;

        self.watch_until(script.gateway_starts).await?;
        let first = self.restart().await?;
        let ms = first.as_millis();
        self.tell(&format!("the gateway is back: its first PUBACK came {ms} ms after its start"))
            .await?;

        self.watch_until(script.upstream_returns).await?;
        self.upstream.come_back().map_err(Failure::system("serve the Kafka stand-in again"))?;
        let backlog = count(self.scene.backlog, "event waits", "events wait");
        self.tell(&format!("the upstream is back: {backlog} for it")).await?;

        let second = self.fleet.rate();
        if self.watch(script.devices_stop, |scene| scene.backlog < second).await? {
            self.tell("the backlog is in the cluster").await?;
        }
        self.watch_until(script.devices_stop).await?;
        self.fleet.stop();
        self.tell("the devices stop measuring").await
    }

    /// Starts the killed gateway. How long it took to the first PUBACK.
    async fn restart(&mut self) -> Result<Duration, Failure> {
        let before = self.fleet.tally().acknowledged;
        let started = Instant::now();
        self.gateway.start()?;
        while self.fleet.tally().acknowledged == before {
            self.gateway.check()?;
            if started.elapsed() > START_MAX {
                return Err(self.late("the first PUBACK after the kill", START_MAX));
            }
            sleep(CLOSE_LOOK).await;
        }
        Ok(started.elapsed())
    }

    /// From the last reading to the account.
    async fn end(mut self) -> Result<Outcome, Failure> {
        let stopped = Instant::now();
        while !self.fleet.is_settled() {
            if stopped.elapsed() > SETTLE_MAX {
                return Err(self.late("the last PUBACK", SETTLE_MAX));
            }
            sleep(LOOK).await;
            self.look().await?;
        }
        let own = self.drained().await?;
        let took = self.started.elapsed();
        self.tell("everything is acknowledged, and what was selected is in the cluster").await?;
        let journals = self.fleet.finish().await;
        let log = self.gateway.read_log().await?;
        let account = Account::draw_up(&journals, &log, &self.upstream.read(), own);
        self.gateway.stop().await?;
        Ok(Outcome { account, journals, took })
    }

    /// Waits until the gateway has nothing left to deliver. What it says of itself then.
    async fn drained(&mut self) -> Result<Own, Failure> {
        let asked = Instant::now();
        loop {
            self.look().await?;
            let status = self.gateway.status().await;
            let idle = |status: &Status| {
                status.upstream.as_ref().is_some_and(|upstream| upstream.backlog == 0)
            };
            if let Some(status) = status.filter(idle) {
                return Ok(gateway::own(&status));
            }
            if asked.elapsed() > DRAIN_MAX {
                return Err(self.late("the end of the backlog", DRAIN_MAX));
            }
            sleep(LOOK).await;
        }
    }

    /// Shows how things stand until a moment of the script.
    async fn watch_until(&mut self, moment: Duration) -> Result<(), Failure> {
        self.watch(moment, |_| false).await.map(|_| ())
    }

    /// Shows how things stand until they are as awaited, or until a moment of the script. Whether
    /// they are as awaited.
    async fn watch(
        &mut self,
        moment: Duration,
        awaited: impl Fn(&Scene) -> bool,
    ) -> Result<bool, Failure> {
        loop {
            self.look().await?;
            let left = moment.saturating_sub(self.started.elapsed());
            if awaited(&self.scene) || left.is_zero() {
                return Ok(awaited(&self.scene));
            }
            sleep(left.min(LOOK)).await;
        }
    }

    /// Says what has happened, and shows how things stand now.
    async fn tell(&mut self, what: &str) -> Result<(), Failure> {
        self.display.tell(self.started.elapsed(), what);
        self.look().await
    }

    async fn look(&mut self) -> Result<(), Failure> {
        self.gateway.check()?;
        let status = self.gateway.status().await;
        let scene = &mut self.scene;
        scene.elapsed = self.started.elapsed();
        scene.tally = self.fleet.tally();
        scene.in_cluster = self.upstream.count();
        scene.gateway_up = self.gateway.is_up();
        scene.upstream_up = self.upstream.is_up();
        if let Some(status) = status {
            scene.durable = status.log.durable;
            if let Some(upstream) = status.upstream {
                scene.backlog = upstream.backlog;
                scene.oldest_ms = upstream.oldest_undelivered_ms;
                scene.upstream_state = upstream.state;
            }
        }
        self.display.show(scene);
        Ok(())
    }

    fn late(&self, what: &'static str, limit: Duration) -> Failure {
        Failure::Late { what, limit, state: self.scene.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_killed_and_back_while_the_upstream_is_away() {
        for seconds in [10, 25, 300] {
            let script = Script::of(seconds);
            let order = [
                Duration::ZERO,
                script.upstream_goes,
                script.gateway_killed,
                script.gateway_starts,
                script.upstream_returns,
                script.devices_stop,
                Duration::from_secs(seconds),
            ];
            assert!(order.is_sorted_by(|a, b| a < b), "{script:?}");
        }
    }
}
