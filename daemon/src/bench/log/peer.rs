//! The peer of a promise: remembers, on a machine that keeps its power, what was acknowledged.
//!
//! Lines of text. `promise <log id>` begins, `durable <offset>` tells that everything below is
//! acknowledged; `ask <log id>` is answered by `durable <offset>`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Error, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use core::time::Duration;

use crate::io::threads;
use crate::sync::lock;

/// How long a connection may take to be made, and an answer to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the listener looks whether its time is up.
const LOOK: Duration = Duration::from_millis(50);

/// Everything below was acknowledged, by log.
type Known = Arc<Mutex<BTreeMap<String, u64>>>;

/// Listens until it is ended, or for so many seconds. Says on standard output where, then tells of
/// each promise that ends.
pub(super) fn listen(address: &str, seconds: Option<u64>) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    say(&format!("listening on {}", listener.local_addr()?))?;
    let (known, begun) = (Known::default(), Instant::now());
    while seconds.is_none_or(|seconds| begun.elapsed() < Duration::from_secs(seconds)) {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                let known = Arc::clone(&known);
                threads::spawn("peer", move || {
                    if let Err(error) = serve(&stream, &known) {
                        let told = say(&format!("a connection ended: {error}"));
                        debug_assert!(told.is_ok(), "standard output is there");
                    }
                })?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => threads::pause(LOOK),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

fn serve(stream: &TcpStream, known: &Known) -> Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    match first.split_once(' ') {
        Some(("promise", id)) => {
            say(&format!("{id} promises"))?;
            // A plug that is pulled sends no farewell: the connection breaks, or just goes silent.
            while let Some(Ok(line)) = lines.next() {
                let durable = line.strip_prefix("durable ").and_then(|text| text.parse().ok());
                let durable = durable.ok_or_else(|| Error::other(format!("not a line: {line}")))?;
                lock(known).insert(id.to_owned(), durable);
            }
            let durable = lock(known).get(id).copied().unwrap_or(0);
            say(&format!("{id} is gone; {durable} events are acknowledged"))
        }
        Some(("ask", id)) => {
            let durable = lock(known).get(id).copied();
            let answer = durable.map_or_else(|| "unknown".to_owned(), |n| format!("durable {n}"));
            writeln!(&*stream, "{answer}")
        }
        _ => Err(Error::other(format!("not a beginning: {first}"))),
    }
}

/// A promise under way.
pub(super) struct Promise(TcpStream);

impl Promise {
    pub(super) fn begin(peer: &str, log: &str) -> Result<Self> {
        let mut stream = connect(peer)?;
        stream.set_nodelay(true)?;
        writeln!(stream, "promise {log}")?;
        Ok(Self(stream))
    }

    /// Everything below is acknowledged.
    pub(super) fn durable(&mut self, offset: u64) -> Result<()> {
        self.0.write_all(format!("durable {offset}\n").as_bytes())
    }
}

/// Everything below this was acknowledged; `None` if the peer does not know the log.
pub(super) fn ask(peer: &str, log: &str) -> Result<Option<u64>> {
    let mut stream = connect(peer)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    writeln!(stream, "ask {log}")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    match answer.trim_end().strip_prefix("durable ") {
        Some(number) => number.parse().map(Some).map_err(Error::other),
        None if answer.trim_end() == "unknown" => Ok(None),
        None => Err(Error::other("it is no peer of `bench log --listen`")),
    }
}

fn connect(peer: &str) -> Result<TcpStream> {
    use std::net::ToSocketAddrs;
    let mut last = Error::other("no such host");
    for address in peer.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
