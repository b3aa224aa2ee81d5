//! The doors of all listeners: opened at the start, changed on reload.

use std::sync::Arc;

use super::Failure;
use crate::config::Config;
use crate::door::{Door, Rules, Verifier};
use crate::io::mqtt::{self, Listener};

/// The doors, in the order of the configuration.
pub(super) struct Doors(Vec<Arc<Door>>);

impl Doors {
    /// All doors and their sockets.
    ///
    /// # Errors
    /// If a file does not serve, or an address is taken.
    pub(super) fn open(config: &Config) -> Result<(Self, Vec<Listener>), Failure> {
        let verifier = Verifier::new();
        let mut doors = Vec::new();
        let mut sockets = Vec::new();
        for listener in &config.listeners {
            let address = listener.address;
            let rules = Rules::load(listener).map_err(|flaws| {
                let flaws: Vec<String> = flaws.iter().map(ToString::to_string).collect();
                Failure::Other(format!("cannot let anybody in at {address}: {}", flaws.join("; ")))
            })?;
            doors.push(Door::new(rules, Arc::clone(&verifier))?);
            let socket = mqtt::listen(address).map_err(|error| {
                Failure::Other(format!("cannot listen for MQTT on {address}: {error}"))
            })?;
            sockets.push(socket);
        }
        Ok((Self(doors), sockets))
    }

    pub(super) fn all(&self) -> &[Arc<Door>] {
        &self.0
    }

    /// The listeners as `status` shows them: where they are, and what is spoken there.
    pub(super) fn describe(&self, sockets: &[Listener]) -> Vec<String> {
        let one = |(socket, door): (&Listener, &Arc<Door>)| {
            let rules = door.rules();
            let listener = &rules.listener;
            let address = socket.local_addr().unwrap_or(listener.address);
            let spoken = match (listener.tls.is_some(), listener.websocket) {
                (false, false) => "",
                (true, false) => " (TLS)",
                (false, true) => " (WebSocket)",
                (true, true) => " (WebSocket over TLS)",
            };
            format!("{address}{spoken}")
        };
        sockets.iter().zip(&self.0).map(one).collect()
    }

    /// Puts the rules of the listeners into force: for connections to come, and for those that are
    /// there. What has to wait for the next start, for people.
    pub(super) fn reload(&self, config: &Config) -> Vec<String> {
        let mut doors: Vec<&Arc<Door>> = self.0.iter().collect();
        let mut waiting = Vec::new();
        for listener in &config.listeners {
            let address = listener.address;
            let at = doors.iter().position(|door| door.rules().listener.address == address);
            let Some(door) = at.map(|at| doors.remove(at)) else {
                waiting.push(format!("nobody listens on {address} yet"));
                continue;
            };
            if door.rules().listener.connections_max != listener.connections_max {
                waiting.push(format!("`max_connections` of the listener {address}"));
            }
            match Rules::load(listener) {
                Ok(rules) => door.put(rules),
                // It was sound a moment ago, when the configuration was checked.
                Err(flaws) => tracing::error!(?flaws, "a listener's rules stay as they were"),
            }
        }
        let left = doors.iter().map(|door| door.rules().listener.address);
        waiting.extend(left.map(|address| format!("{address} is listened on as before")));
        waiting
    }
}
