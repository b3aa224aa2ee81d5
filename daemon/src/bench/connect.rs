//! Connections in number: how fast a broker lets devices in, plain or over TLS, and what those that
//! are inside notice of it.

use core::time::Duration;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use hdrhistogram::Histogram;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::packets::{connect, publish};
use crate::io::signals::raise_open_files;
use crate::io::tls::ClientFiles;

/// How long a device waits for its welcome, and the probe for its PUBACK.
const ANSWER_MAX: Duration = Duration::from_mins(1);
/// Between two publishes of the probe.
const PROBE_PAUSE: Duration = Duration::from_millis(20);
/// How often a device that was refused or cut off comes again.
const ATTEMPTS_MAX: u32 = 20;
/// How long it waits before.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(250);

/// How many, and how.
#[derive(Clone, Debug, Args)]
pub struct ConnectArgs {
    /// The broker
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:1883")]
    address: String,
    /// Devices that are connected at the same time
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    connections: u32,
    /// Devices that are being let in at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    at_once: u32,
    /// How often all of them leave and come again
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long they stay at the end
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    seconds: u64,
    /// TLS, with the authority in this file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A broker without TLS for the probe, that publishes all the while [default: --address]
    #[arg(long, value_name = "HOST:PORT")]
    probe: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// A device that is connected.
struct Device {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

/// What was measured, in microseconds.
struct Measured {
    connected: u64,
    again: u64,
    seconds: f64,
    welcome: Histogram<u64>,
    probe: Histogram<u64>,
}

/// Lets all devices in, as often as asked, and tells how it went.
pub(super) fn run(args: &ConnectArgs) -> io::Result<String> {
    raise_open_files();
    let config = args.ca.clone().map(|ca| ClientFiles { ca: Some(ca), identity: None }.load());
    let config = config.transpose().map_err(io::Error::other)?.map(Arc::new);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = runtime.block_on(measure(args, config))?;
    Ok(if args.json { measured.json() } else { measured.text() })
}

async fn measure(args: &ConnectArgs, config: Option<Arc<ClientConfig>>) -> io::Result<Measured> {
    let (stop, stopped) = watch::channel(false);
    let probed = args.probe.clone().or_else(|| config.is_none().then(|| args.address.clone()));
    let probe = probed.map(|address| tokio::spawn(probe(address, stopped)));
    let mut measured =
        Measured { connected: 0, again: 0, seconds: 0.0, welcome: histogram(), probe: histogram() };
    let begun = Instant::now();
    let mut inside: Vec<Device> = Vec::new();
    for round in 0..args.rounds {
        // All at once, as when the power comes back.
        inside.clear();
        let at_once = Arc::new(Semaphore::new(args.at_once as usize));
        let mut devices = JoinSet::new();
        for number in 0..args.connections {
            let name = format!("storm-{round}-{number}");
            devices.spawn(enter(name, args.address.clone(), config.clone(), Arc::clone(&at_once)));
        }
        while let Some(entered) = devices.join_next().await {
            let (device, took, attempts) = entered.map_err(io::Error::other)??;
            measured.welcome.saturating_record(micros(took));
            measured.connected += 1;
            measured.again += u64::from(attempts - 1);
            inside.push(device);
        }
    }
    measured.seconds = begun.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    stop.send_replace(true);
    if let Some(probe) = probe {
        measured.probe = probe.await.map_err(io::Error::other)??;
    }
    Ok(measured)
}

/// Comes until it is let in: how long the last attempt took, and how many there were.
async fn enter(
    name: String,
    address: String,
    config: Option<Arc<ClientConfig>>,
    at_once: Arc<Semaphore>,
) -> io::Result<(Device, Duration, u32)> {
    let mut attempts = 0;
    loop {
        let place = at_once.acquire().await.map_err(io::Error::other)?;
        attempts += 1;
        let begun = Instant::now();
        let entering = Device::enter(&name, &address, config.clone());
        let entered = tokio::time::timeout(ANSWER_MAX, entering).await.map_err(io::Error::from);
        match entered.flatten() {
            Ok(device) => return Ok((device, begun.elapsed(), attempts)),
            Err(error) if attempts == ATTEMPTS_MAX => return Err(error),
            Err(_) => drop(place),
        }
        tokio::time::sleep(ATTEMPT_PAUSE).await;
    }
}

impl Device {
    async fn enter(
        name: &str,
        address: &str,
        config: Option<Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).to_owned();
        let tls = match config {
            None => None,
            Some(config) => {
                let host = ServerName::try_from(host).map_err(io::Error::other)?;
                let tls = ClientConnection::new(config, host).map_err(io::Error::other)?;
                Some(Box::new(tls))
            }
        };
        let mut device = Self { stream, tls };
        device.send(&connect(name)).await?;
        let answer = device.receive(4).await?;
        if answer == [0x20, 2, 0, 0] {
            Ok(device)
        } else {
            Err(io::Error::other(format!("the broker refuses a device: {answer:02x?}")))
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.stream.write_all(bytes).await };
        io::Write::write_all(&mut tls.writer(), bytes)?;
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let mut out = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut out)?;
        }
        self.stream.write_all(&out).await
    }

    async fn receive(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut got = Vec::new();
        let mut buffer = Vec::with_capacity(4_096);
        while got.len() < count {
            buffer.clear();
            if self.stream.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some(tls) = &mut self.tls else {
                got.extend_from_slice(&buffer);
                continue;
            };
            let mut rest = buffer.as_slice();
            while !rest.is_empty() {
                tls.read_tls(&mut rest)?;
                tls.process_new_packets().map_err(io::Error::other)?;
            }
            match io::Read::read_to_end(&mut tls.reader(), &mut got) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            self.flush().await?;
        }
        Ok(got)
    }
}

/// A device that is inside and publishes at QoS 1, one at a time: how long each PUBACK takes.
async fn probe(address: String, stop: watch::Receiver<bool>) -> io::Result<Histogram<u64>> {
    let mut times = histogram();
    let mut device = Device::enter("storm-probe", &address, None).await?;
    while !*stop.borrow() {
        let begun = Instant::now();
        device.send(&publish("bench/probe", (1, 1), false, 128)).await?;
        let answer = tokio::time::timeout(ANSWER_MAX, device.receive(4)).await??;
        if answer != [0x40, 2, 0, 1] {
            return Err(io::Error::other(format!("not the probe's PUBACK: {answer:02x?}")));
        }
        times.saturating_record(micros(begun.elapsed()));
        tokio::time::sleep(PROBE_PAUSE).await;
    }
    Ok(times)
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn per_second(&self) -> f64 {
        self.connected as f64 / self.seconds
    }

    fn json(&self) -> String {
        let times = |of: &Histogram<u64>| {
            let at = |quantile| of.value_at_quantile(quantile);
            json!({ "p50": at(0.5), "p99": at(0.99), "max": of.max(), "count": of.len() })
        };
        json!({
            "connected": self.connected,
            "again": self.again,
            "seconds": self.seconds,
            "per_second": self.per_second(),
            "welcome_us": times(&self.welcome),
            "puback_us": times(&self.probe),
        })
        .to_string()
    }

    fn text(&self) -> String {
        let times = |of: &Histogram<u64>| {
            let at = |quantile| Duration::from_micros(of.value_at_quantile(quantile));
            let most = Duration::from_micros(of.max());
            format!("p50 {:?}, p99 {:?}, at most {most:?}", at(0.5), at(0.99))
        };
        format!(
            "{} devices let in within {:.1} s, {:.0} a second; {} came again\n\
             time to CONNACK   {}\n\
             PUBACK meanwhile  {}",
            self.connected,
            self.seconds,
            self.per_second(),
            self.again,
            times(&self.welcome),
            times(&self.probe),
        )
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 2).expect("two digits of ten minutes")
}
