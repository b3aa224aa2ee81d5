//! How far a topic is committed, asked of the broker: the last stable offset, by `ListOffsets`.

use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};

use crate::wait;

const API_LIST_OFFSETS: i16 = 2;
/// The last one without tagged fields that all brokers know.
const VERSION: i16 = 2;
const READ_UNCOMMITTED: u8 = 0;
const READ_COMMITTED: u8 = 1;
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Between two looks: a look costs the broker some microseconds.
const PAUSE: Duration = Duration::from_millis(5);

/// A connection to the broker.
pub(super) struct Broker {
    stream: TcpStream,
}

/// A moment, and how far the topic was committed then: records and the marks of transactions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) end: u64,
}

/// Watches the first partition of a topic from now on.
pub(super) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Vec<Sample>>>>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    end: AtomicU64,
}

impl Watch {
    /// Begins; the topic must be there.
    pub(super) fn start(port: u16, topic: &str) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (theirs, topic) = (Arc::clone(&shared), topic.to_owned());
        let mut broker = Broker::connect(port)?;
        let mut samples = vec![Sample { at: Instant::now(), end: broker.committed(&topic)? }];
        shared.end.store(samples[0].end, Ordering::Relaxed);
        let thread = std::thread::spawn(move || {
            while !theirs.ended.load(Ordering::Relaxed) {
                let end = broker.committed(&topic)?;
                if samples.last().is_none_or(|last| last.end != end) {
                    samples.push(Sample { at: Instant::now(), end });
                    theirs.end.store(end, Ordering::Relaxed);
                }
                wait::pass(PAUSE);
            }
            Ok(samples)
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The last sample's.
    pub(super) fn end(&self) -> u64 {
        self.shared.end.load(Ordering::Relaxed)
    }

    /// Waits until the topic is committed up to `end`.
    pub(super) fn wait_for(&self, end: u64, limit: Duration) -> Result<()> {
        let what = format!("the topic committed up to {end}");
        let reached = wait::until(&what, limit, || Ok((self.end() >= end).then_some(())));
        reached.with_context(|| format!("it is at {}", self.end()))
    }

    /// Every change that was seen; the first one is where it stood before.
    pub(super) fn finish(mut self) -> Result<Vec<Sample>> {
        self.shared.ended.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it ends once")?;
        thread.join().map_err(|_| anyhow!("the watch panicked"))?
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

/// Records a second from the first transaction that was seen to the last, and how long that took.
pub(super) fn rate(samples: &[Sample]) -> Result<(f64, f64)> {
    let (first, last) = (samples.get(1).context("a transaction")?, &samples[samples.len() - 1]);
    let seconds = last.at.duration_since(first.at).as_secs_f64();
    ensure!(seconds > 0.0, "more than one transaction is needed");
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    let records = (last.end - first.end) as f64;
    Ok((records / seconds, seconds))
}

impl Broker {
    /// A connection to the broker of this machine.
    pub(super) fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Self { stream })
    }

    /// How far a topic's first partition is committed.
    pub(super) fn committed(&mut self, topic: &str) -> Result<u64> {
        self.ask(topic, READ_COMMITTED)
    }

    /// Its end, with what is not committed or was aborted.
    pub(super) fn end(&mut self, topic: &str) -> Result<u64> {
        self.ask(topic, READ_UNCOMMITTED)
    }

    fn ask(&mut self, topic: &str, isolation: u8) -> Result<u64> {
        let mut request = Vec::new();
        request.extend(API_LIST_OFFSETS.to_be_bytes());
        request.extend(VERSION.to_be_bytes());
        request.extend(0_i32.to_be_bytes());
        request.extend((-1_i16).to_be_bytes());
        // No replica; one topic with one partition, and of that the end.
        request.extend((-1_i32).to_be_bytes());
        request.push(isolation);
        request.extend(1_i32.to_be_bytes());
        request.extend(u16::try_from(topic.len())?.to_be_bytes());
        request.extend(topic.as_bytes());
        request.extend(1_i32.to_be_bytes());
        request.extend(0_i32.to_be_bytes());
        request.extend((-1_i64).to_be_bytes());
        let mut framed = u32::try_from(request.len())?.to_be_bytes().to_vec();
        framed.append(&mut request);
        self.stream.write_all(&framed)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length))?];
        self.stream.read_exact(&mut answer)?;
        // Correlation, throttle, count, the topic's name, count, partition: then error, time and offset.
        let at = 4 + 4 + 4 + 2 + topic.len() + 4 + 4;
        let fields = answer.get(at..at + 18).context("an answer to ListOffsets")?;
        let (error, offset) = (&fields[..2], &fields[10..]);
        ensure!(error == [0, 0], "{topic}: ListOffsets answers {error:?}");
        Ok(u64::from_be_bytes(offset.try_into()?))
    }
}
