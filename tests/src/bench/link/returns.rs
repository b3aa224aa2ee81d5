//! The first delivery after an outage, with back-off at its longest: the interface or the route was
//! away, which the daemon notices; or only the cluster, which it has to find out.
//!
//! Several gateways go through each outage at once: all must be quick, and where nobody tells them that
//! the cluster is back they must not come in step.

use core::fmt::Write as _;
use core::time::Duration;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use super::committed::Broker;
use super::gateway::{Gateway, Plan};
use super::network::{Network, Quality};
use super::publisher::{Publisher, reading};
use super::told::{Bar, Told};
use crate::real::kafka::{Kafka, Listeners, Setup};
use crate::wait;

const LINK: Quality =
    Quality { rate: 10_000_000, delay_ms: 20, loss_percent: 0, queue_bytes: 100_000 };
const GATEWAYS: u32 = 6;
/// Back-off has reached its longest before: after the time-out of what was sent last, and eight failures. Those are
/// at once, but where nothing answers each takes the eight seconds that a connection may need.
const AWAY: Duration = Duration::from_secs(50);
const AWAY_SILENT: Duration = Duration::from_secs(130);
const DELIVERY_MAX: Duration = Duration::from_mins(2);
const NOTICED_S_MAX: f64 = 2.0;
const FOUND_OUT_S_MAX: f64 = 20.0;
/// Between the first gateway that is back and the last.
const SPREAD_S_MIN: f64 = 1.0;

/// What goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    Interface,
    Route,
    /// The cluster's processes: connections are refused.
    Cluster,
    /// Everything between here and the cluster: packets vanish.
    Path,
}

/// A gateway with a topic of its own.
struct Member {
    gateway: Gateway,
    topic: String,
}

/// Seconds until the first delivery, gateway by gateway.
struct Returned {
    outage: Outage,
    seconds: Vec<f64>,
}

impl Outage {
    const ALL: [Self; 4] = [Self::Interface, Self::Route, Self::Cluster, Self::Path];

    const fn words(self) -> &'static str {
        match self {
            Self::Interface => "the interface was down",
            Self::Route => "the route was gone",
            Self::Cluster => "the cluster was away, connections refused",
            Self::Path => "the cluster was away, packets vanished",
        }
    }

    const fn lasts(self) -> Duration {
        match self {
            Self::Interface | Self::Route | Self::Cluster => AWAY,
            Self::Path => AWAY_SILENT,
        }
    }

    const fn is_noticed(self) -> bool {
        matches!(self, Self::Interface | Self::Route)
    }
}

/// Runs all of it.
pub(super) fn measure(binary: &Path, place: &Path) -> Result<Told> {
    let mut network = Network::new(LINK, place)?;
    let far = Network::far()?;
    let listeners = Listeners { apart: Some(far), ..Listeners::direct()? };
    let mut kafka = Kafka::start(Setup::V412Tv2, &place.join("kafka"), listeners)?;
    let mut members = Vec::new();
    for number in 0..GATEWAYS {
        let topic = format!("first-{number}");
        kafka.create_topic(&topic, 1)?;
        let sections = format!(
            "[upstream]\nbrokers = [\"{far}\"]\n[[route]]\nfrom = \"plant/#\"\ntopic = \"{topic}\"\n"
        );
        let plan = Plan {
            binary,
            dir: &place.join(&topic),
            name: &topic,
            runner: &Network::runner(),
            address: Some(Network::inside()?),
            sections: &sections,
        };
        members.push(Member { gateway: Gateway::start(&plan)?, topic });
    }
    let mut returned = Vec::new();
    for outage in Outage::ALL {
        let seconds = suffer(outage, &members, (&mut network, &mut kafka))?;
        let row = Returned { outage, seconds };
        #[expect(clippy::print_stdout, reason = "progress on long work")]
        {
            print!("{}", row.line());
        }
        returned.push(row);
    }
    Ok(tell(&returned))
}

/// One outage: how many seconds after its end each gateway has delivered what waited.
fn suffer(
    outage: Outage,
    members: &[Member],
    (network, kafka): (&mut Network, &mut Kafka),
) -> Result<Vec<f64>> {
    // With a session and an empty backlog.
    let before = published(members, kafka)?;
    let before = delivered(members, kafka, &before)?.into_iter().map(|(end, _)| end);
    let before: Vec<u64> = before.collect();
    match outage {
        Outage::Interface => Network::set_interface(false)?,
        Outage::Route => Network::set_route(false)?,
        Outage::Cluster => kafka.kill()?,
        Outage::Path => network.set_silent(true)?,
    }
    // The session notices by what is not answered.
    publish(members)?;
    wait::pass(outage.lasts());
    match outage {
        Outage::Interface => Network::set_interface(true)?,
        Outage::Route => Network::set_route(true)?,
        Outage::Cluster => kafka.restart()?,
        Outage::Path => network.set_silent(false)?,
    }
    let back = Instant::now();
    let delivered = delivered(members, kafka, &before)?.into_iter();
    Ok(delivered.map(|(_, at)| at.duration_since(back).as_secs_f64()).collect())
}

/// An event at each gateway.
fn publish(members: &[Member]) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(3);
    for (serial, member) in (0..).zip(members) {
        let mut publisher = Publisher::connect(member.gateway.address(), "press")?;
        publisher.burst("plant/press-7/telemetry", &[reading(serial, &mut random)])?;
    }
    Ok(())
}

/// Publishes, and tells how far the topics were committed before.
fn published(members: &[Member], kafka: &Kafka) -> Result<Vec<u64>> {
    let mut broker = Broker::connect(kafka.port())?;
    let ends = members.iter().map(|member| broker.committed(&member.topic));
    let ends = ends.collect::<Result<Vec<_>>>()?;
    publish(members)?;
    Ok(ends)
}

/// Waits until each topic is committed further than it was; where to, and when that was seen.
fn delivered(members: &[Member], kafka: &Kafka, before: &[u64]) -> Result<Vec<(u64, Instant)>> {
    let mut broker = Broker::connect(kafka.port())?;
    let mut found = vec![None; members.len()];
    wait::until("the first delivery of all", DELIVERY_MAX, || {
        for (place, member) in members.iter().enumerate() {
            // A broker that has just come back does not lead the topic yet.
            let end = broker.committed(&member.topic).unwrap_or_default();
            // With the mark behind it.
            if found[place].is_none() && end >= before[place] + 2 {
                found[place] = Some((end, Instant::now()));
            }
        }
        Ok(found.iter().copied().collect::<Option<Vec<_>>>())
    })
}

fn tell(returned: &[Returned]) -> Told {
    let mut text = format!(
        "**The first delivery after an outage**, of {} s, and {} s where packets vanish: back-off is at its longest; {GATEWAYS} \
         gateways at once.\n\n| outage | seconds after its end, gateway by gateway |\n|---|---|\n",
        AWAY.as_secs(),
        AWAY_SILENT.as_secs()
    );
    let mut bars = Vec::new();
    for row in returned {
        text += &row.line();
        let slowest = row.seconds.iter().copied().fold(0.0, f64::max);
        let quickest = row.seconds.iter().copied().fold(f64::MAX, f64::min);
        let most = if row.outage.is_noticed() { NOTICED_S_MAX } else { FOUND_OUT_S_MAX };
        let what = format!("first delivery after {}", row.outage.words());
        bars.push(Bar::most(&what, (slowest, most), " s"));
        if !row.outage.is_noticed() {
            let spread = (slowest - quickest, SPREAD_S_MIN);
            bars.push(Bar::least("the same, from the first gateway to the last", spread, " s"));
        }
    }
    Told { text, bars }
}

impl Returned {
    fn line(&self) -> String {
        let mut seconds = self.seconds.clone();
        seconds.sort_unstable_by(f64::total_cmp);
        let mut line = format!("| {} |", self.outage.words());
        for seconds in seconds {
            write!(line, " {seconds:.2}").unwrap_or_else(|_| unreachable!("strings grow"));
        }
        line + " |\n"
    }
}
