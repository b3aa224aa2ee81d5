//! `tributary bench`: a load generator for any MQTT broker, and measurements of a disk or card.
//!
//! `bench mqtt` knows of the broker only what clients know: publishes go out, as many as the window
//! allows, and a PUBACK counts once it is here. Encoding is done before the load begins.

mod client;
mod connect;
mod load;
mod log;
mod packets;
mod subscriber;

use core::net::SocketAddr;
use core::time::Duration;
use std::net::ToSocketAddrs;

use clap::{Args, Subcommand};

pub use connect::ConnectArgs;
use load::{Load, Measured};
pub use log::LogArgs;

/// What is to be measured.
#[derive(Clone, Debug, Subcommand)]
pub enum BenchCommand {
    /// Publish to a broker, and tell how fast it acknowledges and hands on
    ///
    /// Every connection keeps as many publishes unacknowledged as the window allows, or publishes at
    /// a rate. At QoS 0 a PINGRESP behind each window stands for the acknowledgement. With
    /// subscribers no more is published than they have got, so that nothing is dropped. Half of the
    /// events have "temperature":71.5, the others 20.5. A warm-up of a second is not counted.
    ///
    /// Examples:
    ///   tributary bench mqtt --connections 50 --window 100    throughput
    ///   tributary bench mqtt --connections 1 --window 1       time to PUBACK
    ///   tributary bench mqtt --connections 1000 --window 0    only connects, and stays
    ///   tributary bench mqtt --connections 1 --window 10 --subscribers 1000    fan-out
    #[command(verbatim_doc_comment)]
    Mqtt(MqttArgs),
    /// Connect in number, plain or over TLS, and tell how fast a broker lets devices in
    ///
    /// Meanwhile one device that is inside publishes, and its time to PUBACK is told: what the
    /// others notice of a storm.
    ///
    /// Examples:
    ///   tributary bench connect --connections 10000                      idle, plain
    ///   tributary bench connect --address gw:8883 --ca ca.pem --probe gw:1883 \\
    ///       --connections 5000 --at-once 5000 --rounds 3                 a storm of reconnects
    #[command(verbatim_doc_comment)]
    Connect(ConnectArgs),
    /// Measure how fast a disk or card makes events durable, and whether it keeps them
    ///
    /// Without a step: durable appends, 1 to 4,096 events a commit, beside a bare file.
    ///
    /// The plug-pull check, for what no program can find out alone: whether the card keeps what it
    /// says is safe. Needs a second machine that keeps its power.
    ///   there:  tributary bench log --listen 0.0.0.0:7777
    ///   here:   tributary bench log --promise THERE:7777 --dir /var/lib
    ///           … pull the plug, start again …
    ///   here:   tributary bench log --check THERE:7777 --dir /var/lib
    #[command(verbatim_doc_comment)]
    Log(log::LogArgs),
}

/// The load on a broker.
#[derive(Clone, Debug, Args)]
pub struct MqttArgs {
    /// The broker
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:1883", value_parser = address)]
    address: SocketAddr,
    /// Devices, each with a connection
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    connections: u16,
    /// Publishes that each device has on their way without an acknowledgement
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    window: u16,
    /// Quality of service of publishes; subscribers ask for the same, 1 at most
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Subscribers, each to the topics of all devices
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=20_000))]
    subscribers: u16,
    /// Events per second, all devices together [default: as many as the window allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Bytes of each payload
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(32..=100_000))]
    payload: u32,
    /// How long it is measured
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Topic of device N: PREFIX/N/telemetry
    #[arg(long, value_name = "PREFIX", default_value = "bench")]
    topic: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| "no such host".to_owned())
}

/// Runs a measurement: its result, as text for people or scripts, and whether it is a good one.
///
/// # Errors
/// What went wrong, for people.
pub fn run(command: &BenchCommand) -> Result<(String, bool), String> {
    match command {
        BenchCommand::Mqtt(args) => {
            let measured = measure(args)
                .map_err(|error| format!("cannot measure {}: {error}", args.address))?;
            Ok((if args.json { measured.json() } else { measured.text(args) }, true))
        }
        BenchCommand::Connect(args) => {
            let told = connect::run(args).map_err(|error| format!("cannot connect: {error}"))?;
            Ok((told, true))
        }
        BenchCommand::Log(args) => log::run(args),
    }
}

fn measure(args: &MqttArgs) -> std::io::Result<Measured> {
    // One thread bears more than a broker takes, and disturbs it least.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Load::new(args).run(Duration::from_secs(args.seconds)))
}
