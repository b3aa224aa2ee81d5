//! What a lane asks of who drives it.

use tributary_bridge::{Bytes, ConnId};

use super::Burial;
#[cfg(doc)]
use super::Lane;
use crate::replicate::aside::Detour;

/// What a lane wants done.
#[derive(Debug)]
pub enum Effect {
    /// Open a connection.
    Connect {
        /// Its name from now on.
        conn: ConnId,
        /// Where to.
        host: String,
        /// Where to.
        port: u16,
    },
    /// Send bytes.
    Send {
        /// On this connection.
        conn: ConnId,
        /// All of these.
        bytes: Bytes,
    },
    /// Say who we are on a connection, and call [`tributary_bridge::Talk::handle_credentials`].
    Authenticate {
        /// This one.
        conn: ConnId,
        /// Whether what was used before was refused.
        fresh: bool,
    },
    /// Close a connection.
    Disconnect {
        /// This one; nothing more is to be told of it.
        conn: ConnId,
    },
    /// Write this body as a hint into the log, and call [`Lane::handle_claimed`].
    WriteHint(Vec<u8>),
    /// Make these dead letters durable, and call [`Lane::handle_buried`].
    Bury(Burial),
    /// Put a routing table into force, and call [`Lane::handle_detour`].
    Detour(Detour),
}
