//! QoS 2 in both directions, and what a session remembers.

use super::subscribing::{GRANT, MESSAGE};
use super::*;
use tributary_core::Offset;
use tributary_core::record::{Event, Qos};

use crate::codec::ack::Ack;
use crate::session::{Delivered, Kept, Message, Phase};
use crate::subscriptions::Grant;

const EXACTLY: Grant<'static> = Grant { qos: Qos::ExactlyOnce, ..GRANT };

fn message() -> Message<'static> {
    let event = Event { qos: Qos::ExactlyOnce, ..MESSAGE.event };
    Message { event, offset: Offset(40), ..MESSAGE }
}

const fn exactly_once(packet_id: u16, dup: bool) -> Publish<'static> {
    publish(Delivery::ExactlyOnce { packet_id: id(packet_id), dup })
}

/// A connection whose session lasts.
fn lasting(version: Version, kept: Option<Kept>) -> Connection {
    let mut connection = Connection::opened(&Settings::default());
    let mut bytes = Vec::new();
    connect(version).encode(&mut bytes);
    assert!(matches!(connection.handle(&bytes), Effect::Connect(_)));
    let welcome = Welcome { assigned: None, kept, lasting: true };
    connection.session.accept(START, welcome, &mut connection.out);
    connection
}

impl Connection {
    fn receive(&mut self, packet_id: u16, dup: bool) -> bool {
        let bytes = encoded(self.session.version(), &Packet::Publish(exactly_once(packet_id, dup)));
        match self.handle(&bytes) {
            Effect::Publish(_) => true,
            Effect::None => false,
            effect => panic!("{effect:?}"),
        }
    }

    fn handle_ack(&mut self, packet: &Packet<'_>) -> Effect<'static> {
        match self.handle(&encoded(self.session.version(), packet)) {
            Effect::None => Effect::None,
            Effect::Acknowledged(over) => Effect::Acknowledged(over),
            Effect::Released(packet_id) => Effect::Released(packet_id),
            Effect::Received(packet_id) => Effect::Received(packet_id),
            effect => panic!("{effect:?}"),
        }
    }

    fn durable_to(&mut self, end: u64, changes: u64) -> Vec<u8> {
        self.out.clear();
        self.session.handle_durable(Offset(end), changes, &mut self.out);
        self.sent()
    }
}

#[test]
fn a_pubrec_waits_for_its_event_and_a_pubcomp_for_its_release() {
    for version in [V311, V5] {
        let mut connection = lasting(version, None);
        assert!(connection.receive(7, false));
        connection.session.handle_appended(Offset(3), id(7));
        assert_eq!(connection.durable_to(3, 0), b"");
        assert_eq!(connection.durable_to(4, 0), b"\x50\x02\0\x07");
        assert_eq!(connection.session.keep().unwrap().unreleased, [(id(7), Offset(3))]);
        let released = connection.handle_ack(&Packet::PubRel(Ack::success(id(7))));
        assert_eq!(released, Effect::Released(id(7)));
        connection.session.hold_pubcomp(id(7), 12);
        assert_eq!(connection.handle_ack(&Packet::PubRel(Ack::success(id(7)))), Effect::None);
        assert_eq!(connection.durable_to(9, 11), b"");
        assert_eq!(connection.durable_to(9, 12), b"\x70\x02\0\x07");
        assert!(connection.receive(7, false), "a free identifier is a new message's");
    }
}

#[test]
fn a_message_that_comes_again_is_not_handed_on_again() {
    let mut connection = lasting(V5, None);
    assert!(connection.receive(7, false));
    connection.session.handle_appended(Offset(3), id(7));
    assert!(!connection.receive(7, true), "its event is not durable yet");
    assert_eq!(connection.durable_to(4, 0), b"\x50\x02\0\x07");
    assert!(!connection.receive(7, true));
    assert_eq!(connection.durable_to(4, 0), b"\x50\x02\0\x07");
    // On another connection, too.
    let mut connection = lasting(V5, connection.session.keep());
    assert!(connection.sent().starts_with(b"\x20"));
    assert!(!connection.receive(7, true));
    assert_eq!(connection.durable_to(4, 0), b"\x50\x02\0\x07");
}

/// Nothing may be said of it that is not so: nobody has it but the client.
#[test]
fn what_is_no_event_is_a_new_message_on_the_next_connection() {
    for version in [V311, V5] {
        for is_refused in [true, false] {
            let mut connection = lasting(version, None);
            // An older one waits for the disk: the refusal of the younger has not left.
            assert!(connection.receive(6, false));
            connection.session.handle_appended(Offset(3), id(6));
            assert!(connection.receive(7, false));
            if is_refused {
                let session = &mut connection.session;
                session.handle_refused(id(7), Reason::NotAuthorized, &mut connection.out);
            }
            let mut connection = lasting(version, connection.session.keep());
            connection.sent();
            assert!(connection.receive(7, true), "{version:?}, refused: {is_refused}");
            assert_eq!(connection.durable_to(9, 0), b"");
        }
    }
}

#[test]
fn on_the_next_connection_too_a_pubrec_waits_for_its_event() {
    let mut connection = lasting(V311, None);
    assert!(connection.receive(7, false));
    connection.session.handle_appended(Offset(3), id(7));
    let mut connection = lasting(V311, connection.session.keep());
    assert!(!connection.receive(7, true));
    assert_eq!(connection.durable_to(3, 9), b"");
    assert_eq!(connection.durable_to(4, 9), b"\x50\x02\0\x07");
}

#[test]
fn an_identifier_that_is_not_free_yet_is_not_used_again() {
    let mut connection = lasting(V5, None);
    assert!(connection.receive(7, false));
    connection.session.handle_appended(Offset(3), id(7));
    connection.durable_to(4, 0);
    connection.handle_ack(&Packet::PubRel(Ack::success(id(7))));
    let closed = connection.send(&Packet::Publish(exactly_once(7, false)));
    assert_eq!(closed, close(Reason::ProtocolError, "MQTT-2.2.1-3"));
}

#[test]
fn a_refused_message_is_over() {
    let mut connection = lasting(V5, None);
    connection.sent();
    assert!(connection.receive(7, false));
    let refused =
        connection.session.handle_refused(id(7), Reason::QuotaExceeded, &mut connection.out);
    let told = refusal(0x50, 7, Reason::QuotaExceeded, "there is no room at the moment");
    assert_eq!((refused, connection.sent()), (Effect::None, told));
    assert!(connection.receive(7, false));
}

#[test]
fn the_receive_maximum_counts_until_the_pubcomp() {
    let settings = Settings { unacked_max: id(1), ..Settings::default() };
    let mut connection = Connection::accepted_with(&settings, &connect(V5));
    assert!(connection.receive(1, false));
    connection.session.handle_appended(Offset(0), id(1));
    connection.durable_to(1, 0);
    let closed = connection.send(&Packet::Publish(exactly_once(2, false)));
    assert_eq!(closed, close(Reason::ReceiveMaximumExceeded, "MQTT-3.3.4-7"));
}

#[test]
fn a_session_that_ends_with_its_connection_waits_for_nothing() {
    let mut connection = Connection::accepted(&connect(V5));
    assert!(connection.receive(7, false));
    connection.session.handle_appended(Offset(0), id(7));
    connection.durable_to(1, 0);
    assert_eq!(connection.handle_ack(&Packet::PubRel(Ack::success(id(7)))), Effect::None);
    assert_eq!(connection.sent(), b"\x70\x02\0\x07");
    let sent = connection.session.deliver(&message(), EXACTLY, &mut connection.out);
    assert_eq!(sent, Delivered::Sent);
    assert_eq!(connection.sent(), b"\x34\x07\0\x01a\0\x01\0x");
    assert_eq!(connection.handle_ack(&Packet::PubRec(Ack::success(id(1)))), Effect::None);
    assert_eq!(connection.sent(), b"\x62\x02\0\x01");
    let over = connection.handle_ack(&Packet::PubComp(Ack::success(id(1))));
    assert!(matches!(over, Effect::Acknowledged(_)));
}

#[test]
fn to_the_client_each_step_waits_for_its_change() {
    let mut connection = lasting(V311, None);
    connection.sent();
    let reserved = connection.session.deliver(&message(), EXACTLY, &mut connection.out);
    assert_eq!((reserved, connection.sent()), (Delivered::Reserved(id(1)), Vec::new()));
    let sent =
        connection.session.deliver_reserved(id(1), (&message(), EXACTLY), &mut connection.out);
    assert_eq!((sent, connection.sent()), (Delivered::Sent, b"\x34\x06\0\x01a\0\x01x".to_vec()));
    let received = connection.handle_ack(&Packet::PubRec(Ack::success(id(1))));
    assert_eq!(received, Effect::Received(id(1)));
    connection.session.hold_pubrel(id(1), 5);
    assert_eq!(connection.handle_ack(&Packet::PubRec(Ack::success(id(1)))), Effect::None);
    assert_eq!(connection.durable_to(0, 4), b"");
    assert_eq!(connection.durable_to(0, 5), b"\x62\x02\0\x01");
    let over = connection.handle_ack(&Packet::PubComp(Ack::success(id(1))));
    let Effect::Acknowledged(over) = over else { panic!("{over:?}") };
    assert_eq!((over.offset, over.phase), (Offset(40), Phase::Received));
}

#[test]
fn what_was_under_way_goes_on_with_its_identifiers() {
    let mut connection = lasting(V311, None);
    for offset in 40..43 {
        let message = Message { offset: Offset(offset), ..message() };
        connection.session.deliver(&message, EXACTLY, &mut connection.out);
    }
    for packet_id in [1, 2] {
        connection.session.deliver_reserved(
            id(packet_id),
            (&message(), EXACTLY),
            &mut connection.out,
        );
    }
    connection.handle_ack(&Packet::PubRec(Ack::success(id(1))));
    let mut connection = lasting(V311, connection.session.keep());
    assert_eq!(connection.sent(), b"\x20\x02\x01\0\x62\x02\0\x01", "session present, PUBREL");
    let unsent: Vec<_> =
        connection.session.unsent().map(|entry| (entry.packet_id, entry.offset)).collect();
    assert_eq!(unsent, [(id(2), Offset(41)), (id(3), Offset(42))]);
    for (packet_id, first_byte) in [(2, 0x3C), (3, 0x34)] {
        let sent = connection.session.deliver_reserved(
            id(packet_id),
            (&message(), EXACTLY),
            &mut connection.out,
        );
        assert_eq!(sent, Delivered::Sent);
        assert_eq!(connection.sent()[0], first_byte, "DUP only if it was sent before");
    }
    // The client never answers for one that it was not sent.
    let other = connection.session.deliver(&message(), EXACTLY, &mut connection.out);
    assert_eq!(other, Delivered::Reserved(id(4)));
}

#[test]
fn steps_of_a_delivery_that_never_began_are_unknown() {
    let ack = Ack::success(id(1));
    for (version, complete, release) in [
        (V5, &b"\x70\x03\0\x01\x92"[..], &b"\x62\x03\0\x01\x92"[..]),
        (V311, b"\x70\x02\0\x01", b"\x62\x02\0\x01"),
    ] {
        let mut connection = Connection::accepted(&connect(version));
        assert_eq!(connection.send(&Packet::PubRel(ack)), None);
        assert_eq!(connection.sent(), complete);
        assert_eq!(connection.send(&Packet::PubRec(ack)), None);
        assert_eq!(connection.sent(), release);
        assert_eq!(connection.send(&Packet::PubComp(ack)), None);
        assert_eq!(connection.sent(), b"");
    }
}

#[test]
fn a_topic_is_named_once_to_a_client_that_takes_aliases() {
    let asked = properties(&[Property::TopicAliasMaximum(1)]);
    let asked = Connect { properties: checked(Carrier::Connect, &asked), ..connect(V5) };
    let mut connection = Connection::accepted(&asked);
    let at_most_once = Grant { qos: Qos::AtMostOnce, ..GRANT };
    for (topic, expected) in [
        ("plant/1", &b"\x30\x0E\0\x07plant/1\x03\x23\0\x01x"[..]),
        ("plant/2", b"\x30\x0B\0\x07plant/2\0x"),
        ("plant/1", b"\x30\x07\0\0\x03\x23\0\x01x"),
    ] {
        let event = Event { topic, ..MESSAGE.event };
        let message = Message { event, ..MESSAGE };
        connection.session.deliver(&message, at_most_once, &mut connection.out);
        assert_eq!(connection.sent(), expected);
    }
}
