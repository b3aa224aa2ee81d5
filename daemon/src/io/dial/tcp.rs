//! A name becomes addresses, and one of them a connection: both families in turn, each a quarter of
//! a second after the one before (RFC 8305), so that a family that leads nowhere costs no more.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{DialError, Step, Trace};

/// How long a name may take to be looked up.
const LOOKUP_MAX: Duration = Duration::from_secs(5);
/// How long it may take until an address answers.
const CONNECT_MAX: Duration = Duration::from_secs(8);
/// Head start of an address before the next one (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

pub(super) async fn connect(
    host: &str,
    port: u16,
    trace: &mut Trace,
) -> Result<TcpStream, DialError> {
    let failed = |step, why: String| DialError { step, why: format!("{host}:{port}: {why}") };
    let found = match timeout(LOOKUP_MAX, lookup_host((host, port))).await {
        Err(_) => return Err(failed(Step::Dns, "no name server answers".to_owned())),
        Ok(Err(error)) => {
            return Err(failed(Step::Dns, format!("the name is not known: {error}")));
        }
        Ok(Ok(found)) => alternate(found.take(ADDRESSES_MAX).collect()),
    };
    trace.addresses.clone_from(&found);
    if found.is_empty() {
        return Err(failed(Step::Dns, "the name has no address".to_owned()));
    }
    let started = Instant::now();
    let stream = match timeout(CONNECT_MAX, race(&found)).await {
        Err(_) => return Err(failed(Step::Tcp, "does not answer".to_owned())),
        Ok(Err(error)) => return Err(failed(Step::Tcp, error.to_string())),
        Ok(Ok(stream)) => stream,
    };
    stream.set_nodelay(true).map_err(|error| failed(Step::Tcp, error.to_string()))?;
    trace.connected = stream.peer_addr().ok();
    trace.tcp = started.elapsed();
    Ok(stream)
}

/// The first of the addresses that answers; else the last one's error.
async fn race(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut tries = JoinSet::new();
    let mut waiting = addresses.iter().copied();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let next = waiting.next();
        if let Some(address) = next {
            tries.spawn(TcpStream::connect(address));
        }
        let pause = async {
            match next {
                Some(_) => tokio::time::sleep(STAGGER).await,
                None => core::future::pending().await,
            }
        };
        tokio::select! {
            ended = tries.join_next() => match ended {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => last = error,
                Some(Err(error)) => last = io::Error::other(error),
                None => return Err(last),
            },
            () = pause => {}
        }
    }
}

/// The resolver's order, but the families take turns.
fn alternate(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut others = others.into_iter();
    let mut all = Vec::new();
    for address in preferred {
        all.push(address);
        all.extend(others.next());
    }
    all.extend(others);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let expected = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(alternate(found), expected);
        let found = addresses(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(alternate(found.clone()), found);
    }

    /// Nobody listens at the first address; the second one answers.
    #[tokio::test]
    async fn an_address_that_leads_nowhere_is_passed_over() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let good = listener.local_addr().expect("its address");
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let bad = closed.local_addr().expect("its address");
        drop(closed);
        let stream = race(&[bad, good]).await.expect("a connection");
        assert_eq!(stream.peer_addr().expect("connected"), good);
        assert!(race(&[bad]).await.is_err());
    }
}
