//! Guests who do not behave, whether they mean to or not.

use core::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncReadExt;
use tributary_core::record::Qos;
use tributary_mqtt::codec::connect::Connect;
use tributary_tests::daemon::Daemon;
use tributary_tests::real::binary;
use tributary_tests::wire::{Wire, connect};
use tributary_tests::{ports, wait};

use crate::client::{Client, Entered, PATIENCE, Place, publish, runtime};
use crate::witness::{Witness, check_memory};

const TIMEOUT: Duration = Duration::from_secs(2);

fn start() -> Result<(Daemon, Place)> {
    let port = ports::free()?;
    let executable = binary::path()?;
    let listener = format!(
        "[[listener]]\naddress = \"127.0.0.1:{port}\"\nconnect_timeout = \"{}s\"\n",
        TIMEOUT.as_secs(),
    );
    Ok((Daemon::start(&executable.display().to_string(), &listener)?, Place::plain(port)))
}

async fn guest(place: &Place, number: usize) -> Result<Client> {
    let name = format!("guest-{number}");
    let asked = Connect { clean_start: true, keep_alive_s: 0, ..connect(&name) };
    match Client::enter(place, number, &asked).await? {
        Entered::In(client) => Ok(client),
        Entered::Later => anyhow::bail!("busy"),
    }
}

/// Fifty subscribers take a hundred megabytes each, and read nothing of it.
#[test]
fn who_does_not_read_holds_up_nobody() -> Result<()> {
    const READERS: usize = 50;
    const MESSAGES: usize = 1_600;
    let runtime = runtime(READERS as u64)?;
    let (daemon, place) = start()?;
    let witness = Witness::start(&daemon)?;
    let readers = runtime.block_on(async {
        let mut readers = Vec::new();
        for number in 0..READERS {
            let mut reader = guest(&place, number).await?;
            reader.send(b"\x82\x0A\0\x01\0\x05flood\x01").await?;
            readers.push(reader);
        }
        anyhow::Ok(readers)
    })?;
    let (mut good, _) = Wire::open(daemon.port(), &connect("good"))?;
    good.subscribe("flood", Qos::AtLeastOnce)?;
    let (mut source, _) = Wire::open(daemon.port(), &connect("source"))?;
    let payload = "x".repeat(64 << 10);
    for _ in 0..MESSAGES {
        source.publish_once("flood", &payload, false)?;
        ensure!(good.take()?.payload.len() == payload.len());
    }
    witness.end("50 that do not read", Duration::from_secs(3))?;
    check_memory(&daemon, "50 that do not read", 128)?;
    drop(readers);
    Ok(())
}

/// Six hundred stop in the middle of a large packet.
#[test]
fn who_stops_in_the_middle_of_a_packet_takes_no_more_than_its_share() -> Result<()> {
    const COUNT: usize = 600;
    let runtime = runtime(COUNT as u64)?;
    let (daemon, place) = start()?;
    let witness = Witness::start(&daemon)?;
    let most = vec![b'x'; 200 << 10];
    let stopped = runtime.block_on(async {
        let mut stopped = Vec::new();
        for number in 0..COUNT {
            let mut client = guest(&place, number).await?;
            let packet = publish("large", &most);
            // The daemon may have had enough of it.
            client.send(&packet[..packet.len() - 1]).await.ok();
            stopped.push(client);
        }
        anyhow::Ok(stopped)
    })?;
    // One that takes less room, and sends its packets to their end, is served all the same.
    let (mut good, _) = Wire::open(daemon.port(), &connect("good"))?;
    for _ in 0..20 {
        good.publish_once("large", &"y".repeat(100 << 10), false)?;
    }
    witness.end("600 that stop in the middle", Duration::from_secs(3))?;
    check_memory(&daemon, "600 that stop in the middle", 64)?;
    drop(stopped);
    Ok(())
}

/// Waits until nothing that was sent to or from a port is still in a socket.
fn wait_until_read(port: u16) -> Result<()> {
    let port = format!(":{port:04X}");
    wait::until("empty sockets", PATIENCE, || {
        let sockets = std::fs::read_to_string("/proc/net/tcp")?;
        let of_port = sockets.lines().filter(|line| line.contains(&port));
        Ok(of_port.into_iter().all(|line| line.contains(" 00000000:00000000 ")).then_some(()))
    })
}

/// Eighty have begun a large packet and are silent from then on; twenty more come, and go on. Those make room who
/// have been silent for longest, without another byte from them.
#[test]
fn who_is_silent_in_the_middle_of_a_packet_makes_room() -> Result<()> {
    const SILENT: usize = 80;
    const COUNT: usize = 100;
    let runtime = runtime(COUNT as u64)?;
    let (daemon, place) = start()?;
    let witness = Witness::start(&daemon)?;
    let most = vec![b'x'; 200 << 10];
    runtime.block_on(async {
        let mut begun = Vec::new();
        for number in 0..COUNT {
            let mut client = guest(&place, number).await?;
            let packet = publish("large", &most);
            client.send(&packet[..packet.len() - 1]).await?;
            begun.push(client);
            if number + 1 == SILENT {
                wait_until_read(place.port())?;
            }
        }
        for mut client in begun.drain(SILENT..) {
            client.end(b"x").await.context("one that goes on")?;
        }
        begun.swap_remove(0).closed().await
    })?;
    witness.end("80 that are silent", Duration::from_secs(3))?;
    check_memory(&daemon, "80 that are silent", 64)
}

/// Half a CONNECT, a packet of 256 MB, one byte at a time: each loses its place, and nobody else does.
#[test]
fn half_open_oversized_and_slow() -> Result<()> {
    const COUNT: usize = 1_000;
    let runtime = runtime(3 * COUNT as u64)?;
    let (daemon, place) = start()?;
    let witness = Witness::start(&daemon)?;
    let begins: [&[u8]; 3] = [b"", b"\x10\x2C\0\x04MQ", b"\x10\xFF\xFF\xFF\x7F\0\x04MQTT"];
    runtime.block_on(async {
        let mut silent = Vec::new();
        for begin in begins {
            for number in 0..COUNT {
                let mut stream = place.connect(number).await?;
                tokio::io::AsyncWriteExt::write_all(&mut stream, begin).await?;
                silent.push(stream);
            }
        }
        // One byte at a time is served, meanwhile.
        let packet = publish("slow", b"one byte at a time");
        let mut slow = guest(&place, 0).await?;
        for byte in &packet[..packet.len() - 1] {
            slow.send(&[*byte]).await?;
        }
        for mut stream in silent {
            let mut rest = Vec::new();
            // Closed or reset, within its time.
            tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await?.ok();
        }
        slow.send(&packet[packet.len() - 1..]).await?;
        anyhow::Ok(())
    })?;
    // One that is inside and announces more than is taken is sent away.
    let mut large = Wire::open(daemon.port(), &connect("large"))?.0;
    large.send_bytes(b"\x30\xFF\xFF\xFF\x7F")?;
    ensure!(large.end()?.is_none());
    wait::until("the slow one's event", PATIENCE, || {
        Ok(daemon.events()?.iter().any(|event| event.topic == "slow").then_some(()))
    })?;
    witness.end("3,000 half-open", Duration::from_secs(3))?;
    check_memory(&daemon, "3,000 half-open", 64)
}
