//! Notices an interface, an address or a route that comes (back): the kernel tells whoever listens
//! (rtnetlink(7)), without rights and without asking again and again.

use std::io;
use std::os::unix::net::UnixDatagram as StdDatagram;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use tokio::net::UnixDatagram;

/// Links, and addresses and routes of both families (`RTMGRP_…` of linux/rtnetlink.h).
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
/// Of a link's flags: there is a carrier (`IFF_LOWER_UP`).
const LOWER_UP: u32 = 0x1_0000;
/// Where the flags stand in a link's message, header included.
const FLAGS_AT: usize = 24;
const HEADER_BYTES: usize = 16;
/// Messages are aligned to so many bytes.
const ALIGN: usize = 4;
/// Larger than any message of these groups.
const BUFFER_BYTES: usize = 8 << 10;
const OVERRUN: i32 = rustix::io::Errno::NOBUFS.raw_os_error();

/// Listens to the kernel.
pub struct Watch {
    /// The type is one of another family, but it does nothing with its descriptor than wait and receive.
    socket: Option<UnixDatagram>,
}

impl Watch {
    /// Begins to listen. Where the kernel does not let us, that is said, and only back-off is left.
    #[must_use]
    pub fn new() -> Self {
        match listen() {
            Ok(socket) => Self { socket: Some(socket) },
            Err(error) => {
                tracing::warn!("a link that comes back is not noticed: no netlink: {error}");
                Self { socket: None }
            }
        }
    }

    /// Waits until a way out may have come back.
    pub async fn returned(&self) {
        let Some(socket) = &self.socket else { return core::future::pending().await };
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match socket.recv(&mut buffer).await {
                Ok(read) if tells_of_return(&buffer[..read]) => return,
                Ok(_) => {}
                // So much has changed that the kernel could not keep it all.
                Err(error) if error.raw_os_error() == Some(OVERRUN) => return,
                Err(error) => {
                    tracing::warn!("a link that comes back is not noticed any more: {error}");
                    return core::future::pending().await;
                }
            }
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

fn listen() -> io::Result<UnixDatagram> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // No protocol is number 0, and that is `NETLINK_ROUTE`.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    UnixDatagram::from_std(StdDatagram::from(socket))
}

/// Whether one of the messages says that something is there now. What goes away tells us nothing: that
/// is noticed by what is not answered.
fn tells_of_return(mut messages: &[u8]) -> bool {
    while let Some(header) = messages.get(..HEADER_BYTES) {
        let length = number(header, 0).map_or(0, |length| length as usize);
        if length < HEADER_BYTES || length > messages.len() {
            return false;
        }
        let returned = match number(header, 4).map(|kind| kind & 0xffff).map(u16::try_from) {
            Some(Ok(NEW_LINK)) => {
                number(&messages[..length], FLAGS_AT).is_some_and(|flags| flags & LOWER_UP != 0)
            }
            Some(Ok(NEW_ADDRESS | NEW_ROUTE)) => true,
            _ => false,
        };
        if returned {
            return true;
        }
        let next = length.next_multiple_of(ALIGN).min(messages.len());
        messages = &messages[next..];
    }
    false
}

/// Four bytes in the machine's order. The type of a message is in the first two of its four.
#[expect(clippy::host_endian_bytes, reason = "the kernel and we are one machine")]
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    if at == 4 {
        return Some(u32::from(u16::from_ne_bytes([bytes[0], bytes[1]])));
    }
    Some(u32::from_ne_bytes(bytes))
}

#[cfg(test)]
#[expect(clippy::host_endian_bytes, reason = "the kernel and we are one machine")]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + body.len()).expect("short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        bytes
    }

    fn link(flags: u32) -> Vec<u8> {
        let mut body = vec![0; 8];
        body.extend(flags.to_ne_bytes());
        body.extend([0; 4]);
        message(NEW_LINK, &body)
    }

    #[test]
    fn what_comes_is_told_from_what_goes() {
        const UP: u32 = 0x1;
        assert!(tells_of_return(&link(UP | LOWER_UP)));
        assert!(!tells_of_return(&link(UP)), "no carrier");
        assert!(!tells_of_return(&message(NEW_LINK + 1, &[0xff; 16])), "a link is gone");
        assert!(tells_of_return(&message(NEW_ADDRESS, &[0; 8])));
        assert!(!tells_of_return(&message(NEW_ADDRESS + 1, &[0; 8])));
        assert!(tells_of_return(&message(NEW_ROUTE, &[0; 12])));
        assert!(!tells_of_return(&message(NEW_ROUTE + 1, &[0; 12])));
        let both = [message(NEW_ROUTE + 1, &[0; 3]), link(LOWER_UP)].concat();
        assert!(tells_of_return(&both), "the second of two");
    }

    #[test]
    fn nonsense_is_nothing() {
        assert!(!tells_of_return(&[]));
        assert!(!tells_of_return(&[0; 64]));
        assert!(!tells_of_return(&[0xff; 64]));
        let whole = link(LOWER_UP);
        for end in 0..whole.len() {
            assert!(!tells_of_return(&whole[..end]), "{end}");
        }
    }

    /// The kernel lets everybody listen.
    #[tokio::test]
    async fn the_kernel_is_listened_to() {
        assert!(Watch::new().socket.is_some());
    }
}
