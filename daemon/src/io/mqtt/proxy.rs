//! The PROXY protocol, version 2: behind a load balancer, the address that a connection really comes
//! from, in front of everything else (haproxy's `proxy-protocol.txt`, 2.2).
//!
//! ```text
//! 0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A │ version, command │ family │ length, 2 │ addresses, more
//! ```

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const VERSION: u8 = 2;
const HEAD_BYTES: usize = 16;
/// Addresses and extensions together, in bytes; real ones have some hundred.
const LENGTH_MAX: usize = 4 << 10;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Who connects; `None`: the proxy itself (a health check), or not told.
    pub(super) source: Option<IpAddr>,
    /// Bytes of the header.
    pub(super) bytes: usize,
}

/// Reads the header that a connection begins with; `None`: it has not all come yet.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
    let begin = bytes.len().min(SIGNATURE.len());
    if bytes[..begin] != SIGNATURE[..begin] {
        return Err("no header of the PROXY protocol, version 2");
    }
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != VERSION || command & 0x0F > 1 {
        return Err("a version or command of the PROXY protocol that is not known");
    }
    if length > LENGTH_MAX {
        return Err("a header of the PROXY protocol of more than 4 KiB");
    }
    let Some(body) = bytes.get(HEAD_BYTES..HEAD_BYTES + length) else { return Ok(None) };
    let is_local = command == VERSION << 4;
    let source = match family >> 4 {
        _ if is_local => None,
        1 => Some(body.first_chunk::<4>().map(|octets| IpAddr::V4(Ipv4Addr::from(*octets)))),
        2 => Some(body.first_chunk::<16>().map(|octets| IpAddr::V6(Ipv6Addr::from(*octets)))),
        _ => None,
    };
    let is_whole = match family >> 4 {
        1 => length >= 12,
        2 => length >= 36,
        _ => true,
    };
    match source {
        Some(address) if is_whole => {
            let source = address.map(|address| address.to_canonical());
            Ok(Some(Header { source, bytes: HEAD_BYTES + length }))
        }
        Some(_) => Err("a header of the PROXY protocol without its addresses"),
        None => Ok(Some(Header { source: None, bytes: HEAD_BYTES + length })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    #[test]
    fn tells_who_connects() {
        let four = header(0x21, 0x11, &[10, 1, 2, 3, 10, 0, 0, 1, 0, 80, 7, 91, 4, 0, 1, 9]);
        let source = Some(IpAddr::from([10, 1, 2, 3]));
        assert_eq!(parse(&four), Ok(Some(Header { source, bytes: four.len() })));
        let mut body = [0; 36];
        body[..16].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        let six = header(0x21, 0x21, &body);
        let source = Some(IpAddr::from(Ipv6Addr::LOCALHOST));
        assert_eq!(parse(&six), Ok(Some(Header { source, bytes: six.len() })));
        for silent in [header(0x20, 0x11, &[0; 12]), header(0x20, 0, &[]), header(0x21, 0, &[])] {
            assert_eq!(parse(&silent), Ok(Some(Header { source: None, bytes: silent.len() })));
        }
        for cut in 0..four.len() {
            assert_eq!(parse(&four[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn refuses_what_is_none_as_soon_as_it_can_be_seen() {
        let wrong = [
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
            vec![0x10],
            header(0x11, 0x11, &[0; 12]),
            header(0x2F, 0x11, &[0; 12]),
            header(0x21, 0x11, &[0; 11]),
            header(0x21, 0x21, &[0; 35]),
            header(0x21, 0x11, &[0; LENGTH_MAX + 1]),
        ];
        for bytes in wrong {
            assert!(parse(&bytes).is_err(), "{bytes:?}");
        }
    }
}
