//! A connection as its gateway sees it.

use std::sync::Arc;

use tributary::door::Visit;
use tributary::runtime::clock::Moment;
use tributary::runtime::dialogue::{Dialogue, Shared};

/// A client's connection.
pub(super) struct Conversation {
    dialogue: Dialogue,
    unread: Vec<u8>,
}

impl Conversation {
    /// A client has connected.
    pub(super) fn begin(shared: &Arc<Shared>, moment: Moment) -> Self {
        let dialogue = Dialogue::new(Arc::clone(shared), moment, Visit::unchecked());
        Self { dialogue, unread: Vec::new() }
    }

    /// Deals with bytes of the client, and with all that has become possible. What is to be sent,
    /// and whether the connection is to be closed then.
    pub(super) fn serve(&mut self, moment: Moment, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        self.unread.extend_from_slice(bytes);
        self.dialogue.retry(moment, &mut out);
        if !self.unread.is_empty() && self.dialogue.wants_bytes(&out) {
            let progress = self.dialogue.handle_bytes(moment, &self.unread, &mut out);
            self.unread.drain(..progress.used);
        }
        self.dialogue.handle_wake(moment, &mut out);
        (out, self.dialogue.is_closed())
    }

    /// The client is gone.
    pub(super) fn leave(mut self, moment: Moment) {
        self.dialogue.leave(moment);
    }
}
