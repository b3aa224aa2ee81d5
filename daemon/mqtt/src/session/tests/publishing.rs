//! Publishes from the client, and when their PUBACK leaves.

use super::*;
use tributary_core::Offset;
use tributary_core::properties;
use tributary_core::record::{Event, Origin, Qos};

use crate::codec::ack::Ack;
use crate::limits;
use crate::session::Step;

fn puback(version: Version, packet_id: u16) -> Vec<u8> {
    encoded(version, &Packet::PubAck(Ack::success(id(packet_id))))
}

impl Connection {
    /// The client publishes, and the event stands in the log at `offset`.
    fn append(&mut self, packet_id: u16, offset: u64) {
        self.publish(packet_id);
        self.session.handle_appended(Offset(offset), id(packet_id));
    }

    fn publish(&mut self, packet_id: u16) {
        let publish = at_least_once(packet_id);
        let bytes = encoded(self.session.version(), &Packet::Publish(publish));
        assert_eq!(self.handle(&bytes), Effect::Publish(publish));
    }

    fn durable(&mut self, end: u64) -> Vec<u8> {
        self.session.handle_durable(Offset(end), 0, &mut self.out);
        self.sent()
    }
}

#[test]
fn an_event_is_what_the_client_sent() {
    let sent = super::properties(&[Property::ContentType("text/plain"), Property::User("a", "b")]);
    let publish =
        Publish { properties: checked(Carrier::Publish, &sent), ..publish(Delivery::AtMostOnce) };
    let mut connection = Connection::accepted(&connect(V5));
    let bytes = encoded(V5, &Packet::Publish(publish));
    assert_eq!(connection.handle(&bytes), Effect::Publish(publish));
    let expected = Event {
        topic: "é/b",
        payload: b"21.5",
        client: "press",
        time: TIME,
        qos: Qos::AtMostOnce,
        retain: false,
        origin: Origin::Device,
        packet_id: None,
        properties: properties::Properties(&sent),
    };
    assert_eq!(connection.session.event(&publish, TIME), expected);
    assert_eq!(connection.durable(u64::MAX), b"");
}

#[test]
fn an_ack_waits_for_durability() {
    for version in [V311, V5] {
        let mut connection = Connection::accepted(&connect(version));
        connection.append(5, 7);
        assert_eq!(connection.sent(), b"");
        assert_eq!(connection.durable(7), b"");
        assert_eq!(connection.durable(8), puback(version, 5));
        assert_eq!(connection.durable(9), b"");
        assert_eq!(connection.session.unacked(), 0);
    }
}

#[test]
fn a_publish_without_an_answer_is_not_acknowledged() {
    let mut connection = Connection::accepted(&connect(V5));
    connection.publish(5);
    assert_eq!(connection.durable(u64::MAX), b"");
    connection.session.handle_appended(Offset(0), id(5));
    assert_eq!(connection.durable(1), puback(V5, 5));
}

#[test]
fn acks_leave_in_the_order_of_their_publishes() {
    let mut connection = Connection::accepted(&connect(V311));
    for (packet_id, offset) in [(9, 10), (3, 11), (7, 15)] {
        connection.append(packet_id, offset);
    }
    assert_eq!(connection.durable(12), [puback(V311, 9), puback(V311, 3)].concat());
    assert_eq!(connection.durable(16), puback(V311, 7));
}

#[test]
fn a_refusal_keeps_its_place_in_the_order() {
    let mut connection = Connection::accepted(&connect(V5));
    connection.append(1, 4);
    connection.publish(2);
    connection.publish(3);
    let refused = Reason::QuotaExceeded;
    let effect = connection.session.handle_refused(id(2), refused, &mut connection.out);
    assert_eq!((effect, connection.sent()), (Effect::None, Vec::new()));
    connection.session.handle_appended(Offset(9), id(3));
    let told = refusal(0x40, 2, refused, "there is no room at the moment");
    let expected = [&puback(V5, 1)[..], &told].concat();
    assert_eq!(connection.durable(5), expected);
    assert_eq!(connection.durable(10), puback(V5, 3));
    connection.publish(4);
    let effect = connection.session.handle_refused(id(4), refused, &mut connection.out);
    let told = refusal(0x40, 4, refused, "there is no room at the moment");
    assert_eq!((effect, connection.sent()), (Effect::None, told));
}

#[test]
fn who_does_not_want_reason_strings_gets_none() {
    let unwanted = super::properties(&[Property::RequestProblemInformation(false)]);
    let properties = checked(Carrier::Connect, &unwanted);
    let mut connection = Connection::accepted(&Connect { properties, ..connect(V5) });
    connection.publish(4);
    let refused = Reason::NotAuthorized;
    connection.session.handle_refused(id(4), refused, &mut connection.out);
    assert_eq!(connection.sent(), b"\x40\x03\0\x04\x87");
}

#[test]
fn a_refusal_has_a_reason_that_a_puback_can_carry() {
    let mut connection = Connection::accepted(&connect(V5));
    connection.publish(4);
    let refused = Reason::ServerShuttingDown;
    let effect = connection.session.handle_refused(id(4), refused, &mut connection.out);
    assert_eq!((effect, &connection.sent()[..]), (Effect::None, &b"\x40\x03\0\x04\x80"[..]));
}

#[test]
fn a_refusal_ends_a_3_1_1_connection_without_an_ack() {
    let mut connection = Connection::accepted(&connect(V311));
    connection.append(1, 4);
    connection.publish(2);
    let refused = Reason::QuotaExceeded;
    let effect = connection.session.handle_refused(id(2), refused, &mut connection.out);
    assert!(matches!(effect, Effect::Close(Close { reason: Reason::QuotaExceeded, .. })));
    assert_eq!(connection.durable(u64::MAX), b"");
    assert!(!connection.session.wants_packet());
}

#[test]
#[should_panic(expected = "publishes are answered in their order")]
fn an_answer_to_another_publish_is_our_own_mistake() {
    let mut connection = Connection::accepted(&connect(V5));
    connection.publish(1);
    connection.publish(2);
    connection.session.handle_appended(Offset(1), id(2));
}

#[test]
#[should_panic(expected = "a publish is answered once")]
fn a_second_answer_is_our_own_mistake() {
    let mut connection = Connection::accepted(&connect(V5));
    connection.append(1, 0);
    connection.session.handle_appended(Offset(1), id(1));
}

#[test]
fn a_3_1_1_client_is_not_read_while_its_acks_wait() {
    let settings = Settings { unacked_max: id(2), ..Settings::default() };
    let mut connection = Connection::accepted_with(&settings, &connect(V311));
    connection.append(1, 0);
    assert!(connection.session.wants_packet());
    connection.publish(2);
    assert!(!connection.session.wants_packet());
    assert_eq!(connection.durable(1), puback(V311, 1));
    assert!(connection.session.wants_packet());
}

#[test]
fn what_is_beyond_the_receive_maximum_waits_for_what_is_before_it() {
    let settings = Settings { unacked_max: id(2), ..Settings::default() };
    let mut connection = Connection::accepted_with(&settings, &connect(V5));
    connection.append(1, 0);
    connection.append(2, 1);
    // Who keeps to it is read and answered.
    assert!(connection.session.wants_packet());
    assert_eq!(connection.send(&Packet::PingReq), None);
    assert_eq!(connection.send(&Packet::Publish(publish(Delivery::AtMostOnce))), None);
    connection.out.clear();
    let beyond = at_least_once(3);
    let bytes = encoded(V5, &Packet::Publish(beyond));
    let step = connection.session.handle_bytes(connection.now, &bytes, &mut connection.out);
    assert_eq!(step, Step { used: 0, effect: Effect::None });
    assert!(!connection.session.wants_packet());
    // It is us who do not read.
    assert_eq!(connection.pass_ms(600_000), Effect::None);
    assert_eq!(connection.durable(1), puback(V5, 1));
    assert!(connection.session.wants_packet());
    assert_eq!(connection.handle(&bytes), Effect::Publish(beyond));
}

#[test]
fn retain_is_passed_on() {
    for version in [V311, V5] {
        let retained = Publish { retain: true, ..publish(Delivery::AtMostOnce) };
        let mut connection = Connection::accepted(&connect(version));
        let bytes = encoded(version, &Packet::Publish(retained));
        assert_eq!(connection.handle(&bytes), Effect::Publish(retained));
        assert!(connection.session.event(&retained, TIME).retain);
    }
}

#[test]
fn an_alias_stands_for_its_topic() {
    let mut connection = Connection::accepted(&connect(V5));
    for (alias, topic, expected) in
        [(16, "a", "a"), (1, "b", "b"), (16, "", "a"), (1, "c", "c"), (1, "", "c"), (16, "", "a")]
    {
        let sent = super::properties(&[Property::TopicAlias(id(alias))]);
        let publish = Publish {
            topic,
            properties: checked(Carrier::Publish, &sent),
            ..publish(Delivery::AtMostOnce)
        };
        let bytes = encoded(V5, &Packet::Publish(publish));
        assert_eq!(connection.handle(&bytes), Effect::Publish(publish));
        assert_eq!(connection.session.event(&publish, TIME).topic, expected);
    }
}

#[test]
fn an_alias_that_is_not_allowed_or_not_known_ends_the_connection() {
    let none = Settings { topic_alias_max: 0, ..Settings::default() };
    for (settings, alias, topic, reason, statement) in [
        (Settings::default(), 17, "a", Reason::TopicAliasInvalid, "MQTT-3.3.2-9"),
        (Settings::default(), 17, "", Reason::TopicAliasInvalid, "MQTT-3.3.2-9"),
        (none, 1, "a", Reason::TopicAliasInvalid, "MQTT-3.3.2-9"),
        (Settings::default(), 16, "", Reason::ProtocolError, "3.3.2.3.4"),
    ] {
        let sent = super::properties(&[Property::TopicAlias(id(alias))]);
        let properties = checked(Carrier::Publish, &sent);
        let publish = Publish { topic, properties, ..publish(Delivery::AtMostOnce) };
        let mut connection = Connection::accepted_with(&settings, &connect(V5));
        assert_eq!(connection.send(&Packet::Publish(publish)), close(reason, statement));
        assert_eq!(connection.sent(), break_off(reason, statement));
    }
}

/// As many as were announced, of any length: what they take beyond what is everybody's the driver is told.
#[test]
fn the_topics_behind_aliases_are_counted() {
    const FREE: usize = limits::TOPIC_ALIAS_BYTES_FREE;
    let mut connection = Connection::accepted(&connect(V5));
    let topic = "t".repeat(FREE / 2);
    let long = "t".repeat(65_535);
    for (alias, topic, beyond) in [
        (1, &topic, 0),
        (2, &topic, 0),
        (2, &topic, 0),
        (3, &long, 65_535),
        (3, &topic, FREE / 2),
        (16, &long, FREE / 2 + 65_535),
    ] {
        let sent = super::properties(&[Property::TopicAlias(id(alias))]);
        let properties = checked(Carrier::Publish, &sent);
        let publish = Publish { topic, properties, ..publish(Delivery::AtMostOnce) };
        assert_eq!(connection.send(&Packet::Publish(publish)), None, "{alias}");
        assert_eq!(connection.session.alias_bytes_beyond(), beyond, "{alias}");
    }
}

#[test]
fn a_client_does_not_send_subscription_identifiers() {
    let sent = super::properties(&[Property::SubscriptionIdentifier(1.try_into().unwrap())]);
    let properties = checked(Carrier::Publish, &sent);
    let publish = Publish { properties, ..publish(Delivery::AtMostOnce) };
    let mut connection = Connection::accepted(&connect(V5));
    let closed = connection.send(&Packet::Publish(publish));
    assert_eq!(closed, close(Reason::ProtocolError, "MQTT-3.3.4-6"));
    assert_eq!(connection.sent(), break_off(Reason::ProtocolError, "MQTT-3.3.4-6"));
}

/// So many bytes of user properties, the smallest there are.
pub(super) fn many(bytes: usize) -> Vec<u8> {
    let all = alloc::vec![Property::User("", ""); bytes / 5 - 1];
    let last = "v".repeat(bytes % 5);
    super::properties(&[&all[..], &[Property::User("", &last)]].concat())
}

/// Whatever it is full of: all that was announced is taken (MQTT-3.2.2-15).
#[test]
fn what_is_not_too_large_as_a_whole_is_taken() {
    let max = limits::PACKET_BYTES_DEFAULT as usize;
    // Fixed header, topic, packet identifier, and the length of no properties or of many.
    let around = 4 + 2 + "é/b".len() + 2;
    let payload = alloc::vec![0; max - around - 1];
    let properties = many(max - around - 3);
    let full_of_payload = Publish { payload: &payload, ..at_least_once(1) };
    let properties = checked(Carrier::Publish, &properties);
    let full_of_properties = Publish { properties, payload: b"", ..at_least_once(1) };
    for publish in [full_of_payload, full_of_properties] {
        let bytes = encoded(V5, &Packet::Publish(publish));
        assert_eq!(bytes.len(), max);
        let mut connection = Connection::accepted(&connect(V5));
        assert_eq!(connection.handle(&bytes), Effect::Publish(publish));
        let event = connection.session.event(&publish, TIME);
        assert_eq!(event.properties.0, publish.properties.bytes());
    }
}

#[test]
fn what_is_too_large_is_not_taken() {
    let mut connection = Connection::accepted(&connect(V5));
    let closed = connection.handle(b"\x30\x80\x80\x20");
    assert_eq!(Some(closed), close(Reason::PacketTooLarge, "MQTT-3.2.2-15").map(Effect::Close));
    assert_eq!(connection.sent(), break_off(Reason::PacketTooLarge, "MQTT-3.2.2-15"));
}

#[test]
fn publishing_and_acknowledging_allocate_nothing() {
    let mut connection = Connection::accepted(&connect(V5));
    let user = super::properties(&[Property::TopicAlias(id(1)), Property::User("a", "b")]);
    let properties = checked(Carrier::Publish, &user);
    let first = Publish { properties, ..at_least_once(1) };
    let then = Publish { topic: "", ..first };
    assert_eq!(connection.send(&Packet::Publish(first)), None);
    connection.session.handle_appended(Offset(0), id(1));
    connection.session.handle_durable(Offset(1), 0, &mut connection.out);
    connection.out.clear();
    let bytes = encoded(V5, &Packet::Publish(then));
    let mut topic_bytes = 0;
    let allocations = allocation_counter::measure(|| {
        for offset in 1..100 {
            assert_eq!(connection.handle(&bytes), Effect::Publish(then));
            topic_bytes += connection.session.event(&then, TIME).topic.len();
            connection.session.handle_appended(Offset(offset), id(1));
            connection.session.handle_durable(Offset(offset + 1), 0, &mut connection.out);
            connection.out.clear();
        }
    });
    assert_eq!((allocations.count_total, topic_bytes), (0, 99 * "é/b".len()));
}
