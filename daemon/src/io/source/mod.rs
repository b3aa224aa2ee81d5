//! Connections to other brokers, whose messages are taken into the log.
//!
//! Each connection is a client of its own, made anew: names, certificates and passwords are read for
//! it, and nothing of a lost one is left but what [`Intake`] remembers. The broker keeps the session.

mod link;
mod v3;
mod v5;

use core::time::Duration;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tributary_core::Offset;

use super::clock::{moment, now};
use super::dial::Client;
use super::network::Watch;
use crate::config::{Protocol, Source};
use crate::runtime::dialogue::Shared;
use crate::runtime::ingest::{Closed, NotTaken};
use crate::runtime::status::SourceStatus;
use crate::source::{Intake, Message, Pauses};
use crate::sync::lock;
use link::{Heard, Link, Way};

/// How long the end may take: what is durable is acknowledged, the broker is told good-bye.
const FAREWELL: Duration = Duration::from_millis(700);

/// What a source reaches of the daemon.
pub struct Inside {
    /// The desk, the hub, the clocks.
    pub shared: Arc<Shared>,
    /// Where it tells how it stands.
    pub report: Arc<Mutex<SourceStatus>>,
    /// Told when it is to end.
    pub stop: watch::Receiver<bool>,
}

/// Why a connection is over.
enum Ended {
    Stopped,
    Lost(String),
}

impl From<String> for Ended {
    fn from(why: String) -> Self {
        Self::Lost(why)
    }
}

/// Subscribes at a broker and takes what comes, over as many connections as that needs, until it is
/// told to stop. `client_id` is who we are there.
pub async fn run(source: Source, client_id: String, mut inside: Inside) {
    let mut seed = [0; 8];
    if let Err(error) = getrandom::fill(&mut seed) {
        tracing::warn!("no random numbers, pauses are not spread: {error}");
    }
    let mut pauses = Pauses::new(u64::from_le_bytes(seed));
    let tls = source.tls.as_ref().map(Client::new);
    let way = Way { source: &source, client_id: &client_id, tls: tls.as_ref() };
    let network = Watch::new();
    let mut intake = Intake::new(&source);
    loop {
        let begun = now();
        let ended = match source.protocol {
            Protocol::V3 => live(v3::Link::new(&way), &source, &mut intake, &mut inside).await,
            Protocol::V5 => live(v5::Link::new(&way), &source, &mut intake, &mut inside).await,
        };
        let Err(Ended::Lost(why)) = ended else { return };
        let pause = Duration::from_millis(pauses.next_ms(now().ms_since(begun)));
        tracing::warn!(source = source.name, ?pause, "no messages are taken: {why}");
        {
            let mut report = lock(&inside.report);
            report.connected = false;
            report.last_error = Some(why);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = network.returned() => pauses.forget(),
            _ = inside.stop.changed() => return,
        }
    }
}

/// Lives through one connection.
async fn live<L: Link>(
    link: Result<L, String>,
    source: &Source,
    intake: &mut Intake,
    inside: &mut Inside,
) -> Result<(), Ended> {
    let mut link = link?;
    let session_present = tokio::select! {
        connected = link.connect() => connected?,
        _ = inside.stop.changed() => return Err(Ended::Stopped),
    };
    intake.handle_connected(session_present);
    {
        let mut report = lock(&inside.report);
        // With MQTT 3.1.1 each subscription brings all retained messages again.
        let is_known = session_present && report.connects > 0;
        if !(is_known && source.protocol == Protocol::V3) {
            link.subscribe(&source.topics, source.qos)?;
        }
        report.connected = true;
        report.connects += 1;
    }
    tracing::info!(source = source.name, session_present, "connected");
    let ended = serve(&mut link, intake, inside).await;
    if matches!(ended, Err(Ended::Stopped)) {
        let farewell = tokio::time::timeout(FAREWELL, say_goodbye(&mut link, intake, inside));
        if farewell.await.is_err() {
            tracing::warn!(source = source.name, "the broker was not told good-bye: no time left");
        }
    }
    ended
}

async fn serve<L: Link>(
    link: &mut L,
    intake: &mut Intake,
    inside: &mut Inside,
) -> Result<(), Ended> {
    let Inside { shared, report, stop } = inside;
    let mut durable = shared.ingest.follow();
    loop {
        let space = shared.ingest.space();
        let not_taken = take(intake, shared);
        if let Some(NotTaken::Closed(closed @ (Closed::Failed | Closed::Stopping))) = not_taken {
            return Err(Ended::Lost(match closed {
                Closed::Failed => "the log cannot be written any more".to_owned(),
                Closed::Stopping | Closed::Full => "the daemon is stopping".to_owned(),
            }));
        }
        acknowledge(link, intake, *durable.borrow_and_update())?;
        lock(report).note(intake.figures());
        tokio::select! {
            heard = link.next(), if intake.wants_message() => match heard? {
                Heard::Message(message) => intake.handle_message(message),
                Heard::Refused(why) => {
                    tracing::error!("{why}");
                    lock(report).last_error = Some(why);
                }
                Heard::Other => {}
            },
            Ok(()) = durable.changed() => {}
            () = space, if not_taken.is_some() => {}
            _ = stop.changed() => return Err(Ended::Stopped),
        }
    }
}

/// Leaves what waits at the desk. Why, if something waits on.
fn take(intake: &mut Intake, shared: &Shared) -> Option<NotTaken> {
    if !intake.has_messages() {
        return None;
    }
    let moment = moment();
    let mut desk = shared.ingest.desk();
    intake.take(moment.wall, |event| {
        let mut event = *event;
        if event.retain && !shared.has_room_for(&event, moment) {
            shared.hub.note_unretained(moment.now, &event);
            event.retain = false;
        }
        let offset = desk.append(&event)?;
        if event.retain {
            shared.hub.retain(&event, (offset, shared.age(moment)), shared.ingest.durable());
        }
        Ok(offset)
    })
}

fn acknowledge<L: Link>(link: &mut L, intake: &mut Intake, durable: Offset) -> Result<(), String> {
    while let Some(id) = intake.poll_ack(durable) {
        link.acknowledge(id)?;
    }
    Ok(())
}

/// Acknowledges what is in the log and takes nothing more; the broker sends the rest again, another
/// time.
async fn say_goodbye<L: Link>(link: &mut L, intake: &mut Intake, inside: &Inside) {
    let mut durable = inside.shared.ingest.follow();
    let mut told = false;
    loop {
        let is_told = acknowledge(link, intake, *durable.borrow_and_update());
        if is_told.is_err() {
            return;
        }
        if !told && intake.is_acknowledged() {
            told = true;
            if link.disconnect().is_err() {
                return;
            }
        }
        tokio::select! {
            // It ends when the good-bye was sent.
            heard = link.next() => if heard.is_err() { return },
            Ok(()) = durable.changed() => {}
        }
    }
}

/// What a message becomes is the same in both versions.
fn message(topic: String, payload: Vec<u8>, packet_id: u16, flags: (bool, bool)) -> Message {
    Message {
        topic,
        payload,
        properties: Vec::new(),
        packet_id: core::num::NonZeroU16::new(packet_id),
        retain: flags.0,
        again: flags.1,
    }
}
