//! A cluster behind real sockets on loopback, for the demo and for tests with real clients. The
//! only part of this crate that has sockets, a thread and a clock.

mod pump;

use core::net::SocketAddr;
use std::io;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{self, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tributary_core::time::{Instant, Timestamp};

use crate::{BrokerId, Cluster, Settings};
use pump::{Command, Pump};

/// A cluster behind TCP listeners on 127.0.0.1, one for each broker, on a thread of its own.
/// Dropping it closes all connections and ends the thread.
#[derive(Debug)]
pub struct Served {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    commands: UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and its owner share.
#[derive(Debug)]
struct Shared {
    cluster: Mutex<Cluster>,
    /// The owner may have changed the cluster.
    touched: Notify,
    /// When the cluster's clock stood at `origin`.
    started: time::Instant,
    origin: Instant,
}

impl Served {
    /// Serves `cluster` on free ports, and sets its addresses and its wall clock.
    ///
    /// # Errors
    /// When no port or thread can be had.
    pub fn start(mut cluster: Cluster) -> io::Result<Self> {
        let brokers = cluster.brokers();
        let listeners: Vec<TcpListener> =
            brokers.map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<io::Result<_>>()?;
        let addresses: Vec<SocketAddr> =
            listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        for (id, address) in (1..).zip(&addresses) {
            cluster.set_address(BrokerId(id), &address.ip().to_string(), address.port());
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        cluster.set_wall(Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)));
        let origin = cluster.now();
        let shared = Arc::new(Shared {
            cluster: Mutex::new(cluster),
            touched: Notify::new(),
            started: time::Instant::now(),
            origin,
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (commands, received) = unbounded_channel();
        let pump = Pump::new(Arc::clone(&shared), received);
        let thread = thread::Builder::new()
            .name("kafka-cluster".to_owned())
            .spawn(move || runtime.block_on(pump.run()))?;
        let served = Self { addresses, shared, commands, thread: Some(thread) };
        served.listen(listeners)?;
        Ok(served)
    }

    /// The brokers' addresses, in the order of their numbers.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses as clients take them: `host:port,host:port`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        addresses.join(",")
    }

    /// Looks at the cluster, or changes it; connections wait meanwhile.
    pub fn with<R>(&self, look: impl FnOnce(&mut Cluster) -> R) -> R {
        let result = look(&mut self.shared.lock());
        self.shared.touched.notify_one();
        result
    }

    /// All connections are cut, new ones are refused, until [`Self::come_back`].
    pub fn go_away(&self) {
        let (done, wait) = sync_channel(1);
        self.command(Command::GoAway(done), &wait);
    }

    /// Listens on the same ports again.
    ///
    /// # Errors
    /// When a port was taken by someone else meanwhile.
    pub fn come_back(&self) -> io::Result<()> {
        self.listen(self.addresses.iter().map(TcpListener::bind).collect::<io::Result<_>>()?)
    }

    /// Ends the service and gives the cluster back.
    ///
    /// # Panics
    /// If its thread panicked.
    #[must_use]
    pub fn stop(mut self) -> Cluster {
        self.end();
        let empty = Cluster::new(Settings::default());
        core::mem::replace(&mut *self.shared.lock(), empty)
    }

    fn listen(&self, listeners: Vec<TcpListener>) -> io::Result<()> {
        for listener in &listeners {
            listener.set_nonblocking(true)?;
        }
        let (done, wait) = sync_channel(1);
        self.command(Command::Listen(listeners, done), &wait);
        Ok(())
    }

    /// Has the thread do something and waits until it is done.
    fn command(&self, command: Command, wait: &Receiver<()>) {
        let sent = self.commands.send(command);
        let done = sent.is_ok() && wait.recv().is_ok();
        assert!(done, "the thread runs until it is told to end");
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            // The thread is gone already if it panicked; joining it tells.
            let told = self.commands.send(Command::End);
            let ended = thread.join();
            assert!(thread::panicking() || (told.is_ok() && ended.is_ok()), "the thread panicked");
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        let ms = self.started.elapsed().as_millis();
        self.origin.plus_ms(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    /// The point on the runtime's clock at which the cluster's stands at `at`.
    fn moment(&self, at: Instant) -> tokio::time::Instant {
        let ms = at.ms_since(self.origin);
        (self.started + time::Duration::from_millis(ms)).into()
    }
}
