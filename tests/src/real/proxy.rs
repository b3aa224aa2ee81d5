//! A TCP proxy between a client and Kafka that counts what is sent, cuts connections at random byte
//! positions, stalls, delays and drips.

use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result};

use super::wait;

/// Bytes that are passed on at once.
const PIECE: usize = 16 << 10;
/// Within the first requests of a session.
const REQUESTS: usize = 1_500;
/// Anywhere in some transactions' records.
const RECORDS: usize = 150_000;
/// Within the answers of a session and its first transactions.
const ANSWERS: usize = 5_000;

/// Between two looks at the weather.
const PAUSE: Duration = Duration::from_millis(10);
const DRIP: Duration = Duration::from_secs(1);

/// The proxy; it serves until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    acceptor: Option<JoinHandle<()>>,
}

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Everything is passed on at once.
    Clear,
    /// Each connection is cut somewhere.
    Cutting,
    /// Nothing is passed on and nothing closed.
    Stalled,
    /// Each piece comes at random up to so much later: what two connections carry changes its order.
    Late(Duration),
    /// A byte a second, each way.
    Dripping,
}

#[derive(Debug)]
struct Shared {
    backend: u16,
    ended: AtomicBool,
    weather: Mutex<Weather>,
    cuts: AtomicU64,
    /// Bytes from clients that were passed on.
    sent: AtomicU64,
    random: Mutex<fastrand::Rng>,
}

impl Shared {
    fn random(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a piece on, as the weather lets it.
    fn pass(&self, piece: &[u8], to: &mut TcpStream) -> std::io::Result<()> {
        let mut left = piece;
        while !left.is_empty() && !self.ended.load(Ordering::Relaxed) {
            match self.weather() {
                Weather::Clear | Weather::Cutting => return to.write_all(left),
                Weather::Stalled => wait::pass(PAUSE),
                Weather::Late(most) => {
                    wait::pass(most.mul_f64(self.random().f64()));
                    return to.write_all(left);
                }
                Weather::Dripping => {
                    to.write_all(&left[..1])?;
                    left = &left[1..];
                    self.await_drip();
                }
            }
        }
        Ok(())
    }

    /// A second, unless the weather changes.
    fn await_drip(&self) {
        let end = Instant::now() + DRIP;
        while Instant::now() < end && self.weather() == Weather::Dripping {
            wait::pass(PAUSE);
        }
    }
}

impl Proxy {
    /// Listens on `port` and passes everything on to `backend`.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(port: u16, backend: u16, random: fastrand::Rng) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("the proxy's port")?;
        let shared = Arc::new(Shared {
            backend,
            ended: AtomicBool::new(false),
            weather: Mutex::new(Weather::Clear),
            cuts: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            random: Mutex::new(random),
        });
        let theirs = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for client in listener.incoming() {
                if theirs.ended.load(Ordering::Relaxed) {
                    return;
                }
                // A backend that is away refuses: the client sees its connection end.
                if let Ok(client) = client {
                    connect(&theirs, client).ok();
                }
            }
        });
        Ok(Self { shared, port, acceptor: Some(acceptor) })
    }

    /// How many connections were cut.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    /// How many bytes clients have sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// From now on, for connections that are open already too.
    pub fn set(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the acceptor; whether it still listens does not matter.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().ok();
        }
    }
}

fn connect(shared: &Arc<Shared>, client: TcpStream) -> Result<()> {
    let backend = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.backend))?;
    // One direction is cut: the request is torn, or it arrives and its answer is torn.
    let mut random = shared.random();
    let (up, down) = match random.u8(..5) {
        0 => (random.usize(1..REQUESTS), usize::MAX),
        1 | 2 => (random.usize(1..RECORDS), usize::MAX),
        _ => (usize::MAX, random.usize(1..ANSWERS)),
    };
    drop(random);
    pump(shared, (client.try_clone()?, backend.try_clone()?), (up, true));
    pump(shared, (backend, client), (down, false));
    Ok(())
}

/// Copies one direction until it ends or is cut after `left` bytes; then both directions end.
fn pump(
    shared: &Arc<Shared>,
    (mut from, mut to): (TcpStream, TcpStream),
    (mut left, is_up): (usize, bool),
) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let cut = length >= left && shared.weather() == Weather::Cutting;
            let passed = if cut { left } else { length };
            if shared.pass(&piece[..passed], &mut to).is_err() {
                break;
            }
            if is_up {
                shared.sent.fetch_add(passed as u64, Ordering::Relaxed);
            }
            if cut {
                shared.cuts.fetch_add(1, Ordering::Relaxed);
                break;
            }
            left = left.saturating_sub(passed).max(1);
        }
        // The other end may have closed already.
        from.shutdown(Shutdown::Both).ok();
        to.shutdown(Shutdown::Both).ok();
    });
}
