//! A TCP proxy between a client and Kafka that counts what is sent, and cuts connections at random
//! byte positions.

use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

/// Bytes that are passed on at once.
const PIECE: usize = 16 << 10;
/// Within the first requests of a session.
const REQUESTS: usize = 1_500;
/// Anywhere in some transactions' records.
const RECORDS: usize = 150_000;
/// Within the answers of a session and its first transactions.
const ANSWERS: usize = 5_000;

/// The proxy; it serves until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    backend: u16,
    ended: AtomicBool,
    cutting: AtomicBool,
    cuts: AtomicU64,
    /// Bytes from clients that were passed on.
    sent: AtomicU64,
    random: Mutex<fastrand::Rng>,
}

impl Shared {
    fn random(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.random.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
            cutting: AtomicBool::new(false),
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

    /// From now on, whether connections are cut, those that are open already too.
    pub fn cut(&self, whether: bool) {
        self.shared.cutting.store(whether, Ordering::Relaxed);
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
            let cut = length >= left && shared.cutting.load(Ordering::Relaxed);
            let passed = if cut { left } else { length };
            if to.write_all(&piece[..passed]).is_err() {
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
