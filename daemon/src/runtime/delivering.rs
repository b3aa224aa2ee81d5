//! From a client's mailbox to its connection.
//!
//! In a session that lasts, a message at QoS 2 gets its identifier first, and leaves when the log
//! knows that. What comes behind it waits, so that the order holds.

use std::collections::VecDeque;
use std::sync::Arc;

use core::num::NonZeroU16;

use tributary_core::record::Qos;
use tributary_mqtt::Session;
use tributary_mqtt::session::{Delivered, Message, Withdrawn};

use super::clock::Clocks;
use super::dialogue::{OUT_BYTES_MAX, Turn};
use super::hub::{Mailbox, Outgoing};
use super::sessions::Change;
use crate::door::Guest;
use crate::sync::lock;

/// What has an identifier and waits for the log.
#[derive(Default)]
pub(super) struct Delivering {
    reserved: VecDeque<(u64, NonZeroU16, Outgoing)>,
}

impl Delivering {
    /// Sends what has become possible.
    pub(super) fn run(
        &mut self,
        (session, lasting, guest): (&mut Session, bool, &mut Guest),
        mailbox: &Arc<Mailbox>,
        turn: &mut Turn<'_>,
        out: &mut Vec<u8>,
    ) {
        let clocks = *lock(&turn.shared.clocks);
        let durable = turn.shared.ingest.durable_change();
        while out.len() < OUT_BYTES_MAX
            && let Some((_, id, outgoing)) =
                self.reserved.pop_front_if(|(change, ..)| *change <= durable)
        {
            send_as((session, lasting, guest), id, &outgoing, (turn, &clocks), out);
        }
        while out.len() < OUT_BYTES_MAX {
            let Some(outgoing) = mailbox.take() else { break };
            if let Some(id) = outgoing.again {
                let served = (&mut *session, lasting, &mut *guest);
                if send_as(served, id, &outgoing, (turn, &clocks), out) == Delivered::Busy {
                    mailbox.put_back(outgoing);
                    break;
                }
                continue;
            }
            let Some(message) = &outgoing.message else { continue };
            let (event, grant) = (message.event(), outgoing.grant());
            // The last gate: whatever way a message came here, and whenever it was subscribed to.
            if !guest.may_read(session.client_id(), event.topic) {
                turn.shared.hub.deal_again(&outgoing, session.client_id());
                continue;
            }
            let qos = event.qos.min(grant.qos);
            if !self.reserved.is_empty() && qos != Qos::ExactlyOnce {
                mailbox.put_back(outgoing);
                break;
            }
            let (offset, retained) = (message.offset, outgoing.retained);
            let waited_s = seconds(clocks.ms_since(message.age, turn.moment));
            let delivered =
                session.deliver(&Message { event, offset, retained, waited_s }, grant, out);
            match delivered {
                Delivered::Busy | Delivered::NotConnected => {
                    mailbox.put_back(outgoing);
                    break;
                }
                Delivered::Reserved(id) => {
                    let packet_id = id.get();
                    let offset = offset.0;
                    let reserved = match outgoing.found_by.as_deref() {
                        Some(filter) => Change::Brought { packet_id, offset, filter },
                        None => Change::Reserved { packet_id, offset, retained },
                    };
                    let change = turn.change(session.client_id(), &reserved);
                    self.reserved.push_back((change, id, outgoing));
                }
                Delivered::Sent | Delivered::TooLarge | Delivered::Expired => {}
            }
        }
    }
}

/// Sends a message that has its identifier, or gives that back; busy: there is no room for it yet.
fn send_as(
    (session, lasting, guest): (&mut Session, bool, &mut Guest),
    id: NonZeroU16,
    outgoing: &Outgoing,
    (turn, clocks): (&mut Turn<'_>, &Clocks),
    out: &mut Vec<u8>,
) -> Delivered {
    let delivered = match &outgoing.message {
        None => Delivered::TooLarge,
        Some(message) if !guest.may_read(session.client_id(), message.event().topic) => {
            Delivered::Expired
        }
        Some(message) => {
            let (event, offset, retained) = (message.event(), message.offset, outgoing.retained);
            let waited_s = seconds(clocks.ms_since(message.age, turn.moment));
            let message = Message { event, offset, retained, waited_s };
            session.deliver_reserved(id, (&message, outgoing.grant()), out)
        }
    };
    if !matches!(delivered, Delivered::TooLarge | Delivered::Expired) {
        return delivered;
    }
    let packet_id = id.get();
    match session.withdraw(id, out) {
        Withdrawn::Received => {
            let change = turn.change(session.client_id(), &Change::Received { packet_id });
            session.hold_pubrel(id, change);
        }
        Withdrawn::Free if lasting => {
            turn.change_some_time(session.client_id(), &Change::Completed { packet_id });
        }
        Withdrawn::Free | Withdrawn::Released => {}
    }
    delivered
}

fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1_000).unwrap_or(u32::MAX)
}
