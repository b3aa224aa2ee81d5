//! Many at once who mean well.

use core::time::Duration;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tributary::io::tls::ClientFiles;
use tributary_core::record::Qos;
use tributary_mqtt::codec::connect::{Connect, LastWill};
use tributary_mqtt::codec::property::Properties;
use tributary_tests::authority::Authority;
use tributary_tests::daemon::Daemon;
use tributary_tests::ports;
use tributary_tests::real::binary;
use tributary_tests::wire::{Wire, connect};

use crate::client::{Client, Entered, PATIENCE, Place, runtime};
use crate::witness::{Witness, check_memory};

/// The daemon with a second listener for the crowd.
fn start(listener: &str) -> Result<(Daemon, u16)> {
    let port = ports::free()?;
    let executable = binary::path()?;
    let listener = format!(
        "[[listener]]\naddress = \"127.0.0.1:{port}\"\nmax_connections = 12000\n{listener}"
    );
    Ok((Daemon::start(&executable.display().to_string(), &listener)?, port))
}

/// Lets all clients do the same at once, at most `together` of them at a time.
async fn all<T: Send + 'static, F>(
    clients: impl Iterator<Item = F>,
    together: usize,
) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(together));
    let mut tasks = JoinSet::new();
    for client in clients {
        let places = Arc::clone(&places);
        tasks.spawn(async move {
            let _place = places.acquire().await?;
            timeout(PATIENCE, client).await.context("not in time")?
        });
    }
    let mut done = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        done.push(ended??);
    }
    Ok(done)
}

/// Comes in; again, if it is told to.
async fn enter(place: Place, number: usize, asked: Connect<'static>) -> Result<Client> {
    loop {
        if let Entered::In(client) = Client::enter(&place, number, &asked).await? {
            return Ok(client);
        }
    }
}

/// A CONNECT whose name lives as long as the test.
fn named(number: usize) -> Connect<'static> {
    let name = format!("device-{number}").leak();
    Connect { clean_start: true, keep_alive_s: 0, ..connect(name) }
}

#[test]
fn ten_thousand_are_idle_and_then_all_publish() -> Result<()> {
    const COUNT: usize = 10_000;
    let runtime = runtime(COUNT as u64)?;
    let (daemon, port) = start("")?;
    let witness = Witness::start(&daemon)?;
    let begun = Instant::now();
    let place = Place::plain(port);
    let clients = (0..COUNT).map(|number| enter(place.clone(), number, named(number)));
    let clients = runtime.block_on(all(clients, 500))?;
    println!("{COUNT} connections in {:.1?}", begun.elapsed());
    check_memory(&daemon, "10,000 idle", 96)?;
    let begun = Instant::now();
    let publishing = clients.into_iter().map(|mut client| async move {
        client.publish("crowd", b"0123456789abcdef").await?;
        Ok(client)
    });
    let clients = runtime.block_on(all(publishing, COUNT))?;
    println!("{} PUBACKs in {:.1?}", clients.len(), begun.elapsed());
    witness.end("10,000 connections", Duration::from_secs(3))?;
    check_memory(&daemon, "10,000 that have published", 128)?;
    let published = daemon.events()?.iter().filter(|event| event.topic == "crowd").count();
    ensure!(published == COUNT, "{published} events");
    Ok(())
}

fn add(users: &Path, name: &str) -> Result<()> {
    let mut command = Command::new(binary::path()?);
    command.args(["passwd", "add", "--batch"]).arg(users).arg(name).stdin(Stdio::piped());
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().context("its input")?;
    std::io::Write::write_all(&mut input, format!("password of {name}\n").as_bytes())?;
    drop(input);
    ensure!(child.wait()?.success());
    Ok(())
}

/// The power comes back, and five thousand devices with it: all their TLS handshakes and passwords at once, and then
/// once more, when they are known.
#[test]
fn five_thousand_come_back_over_tls_with_passwords() -> Result<()> {
    const COUNT: usize = 5_000;
    const USERS: usize = 100;
    let runtime = runtime(COUNT as u64)?;
    let dir = tempfile::tempdir()?;
    let users = dir.path().join("users");
    let names: Vec<&'static str> = (0..USERS).map(|n| &*format!("user-{n}").leak()).collect();
    for name in &names {
        add(&users, name)?;
    }
    let authority = Authority::new()?;
    let tls = authority.server("gateway", "localhost")?.section("");
    // Who has to wait for a hash waits as long as it takes here.
    let more = format!("users = \"{}\"\nconnect_timeout = \"60s\"\n{tls}", users.display());
    let (daemon, port) = start(&more)?;
    let files = ClientFiles { ca: Some(authority.cert()), identity: None };
    let place = Place::tls(port, files.load()?);
    let asked = |number: usize| {
        let user = names[number % USERS];
        let password = format!("password of {user}").leak().as_bytes();
        Connect { user_name: Some(user), password: Some(password), ..named(number) }
    };
    for what in ["5,000 over TLS, unknown", "5,000 over TLS, known"] {
        let witness = Witness::start(&daemon)?;
        let begun = Instant::now();
        let clients = (0..COUNT).map(|number| enter(place.clone(), number, asked(number)));
        let mut clients = runtime.block_on(all(clients, COUNT))?;
        println!("{what}: in after {:.1?}", begun.elapsed());
        let last = clients.pop().context("somebody")?;
        runtime.block_on(async move {
            let mut last = last;
            last.publish("crowd", b"x").await
        })?;
        witness.end(what, Duration::from_secs(5))?;
        check_memory(&daemon, what, 224)?;
        // They are lost all at once.
        drop(clients);
    }
    fs::remove_file(&users)?;
    Ok(())
}

#[test]
fn a_thousand_wills_at_once() -> Result<()> {
    const COUNT: usize = 1_000;
    let runtime = runtime(COUNT as u64)?;
    let (daemon, port) = start("")?;
    let (mut reader, _) = Wire::open(daemon.port(), &connect("reader"))?;
    reader.subscribe("wills/+", Qos::AtLeastOnce)?;
    let witness = Witness::start(&daemon)?;
    let payload: &'static [u8] = vec![b'w'; 4 << 10].leak();
    let asked = |number: usize| {
        let topic = format!("wills/{number}").leak();
        let (qos, properties) = (Qos::AtLeastOnce, Properties::NONE);
        let will = LastWill { qos, retain: true, properties, topic, payload };
        Connect { will: Some(will), ..named(number) }
    };
    let place = Place::plain(port);
    let clients = (0..COUNT).map(|number| enter(place.clone(), number, asked(number)));
    let clients = runtime.block_on(all(clients, 200))?;
    let begun = Instant::now();
    drop(clients);
    let mut topics = Vec::new();
    for _ in 0..COUNT {
        topics.push(reader.take()?.topic);
    }
    println!("{COUNT} wills in {:.1?}", begun.elapsed());
    topics.sort_unstable();
    topics.dedup();
    ensure!(topics.len() == COUNT, "each once: {}", topics.len());
    witness.end("1,000 wills", Duration::from_secs(3))?;
    check_memory(&daemon, "1,000 wills", 64)
}
