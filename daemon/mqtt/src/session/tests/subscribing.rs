//! Subscriptions of the client, and messages to it.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::num::NonZeroU32;

use super::*;
use tributary_core::Offset;
use tributary_core::properties;
use tributary_core::record::{Event, Origin, Qos};

use crate::codec::ack::Ack;
use crate::codec::subscribe::{Options, Request, Requests, Subscribe};
use crate::codec::unsubscribe::{Filters, Unsubscribe};
use crate::session::{Delivered, Message};
use crate::subscriptions::{Grant, Subscription};

pub(super) const GRANT: Grant<'static> =
    Grant { qos: Qos::AtLeastOnce, retain_as_published: false, identifiers: &[] };

pub(super) const MESSAGE: Message<'static> = Message {
    event: Event {
        topic: "a",
        payload: b"x",
        client: "other",
        time: TIME,
        qos: Qos::AtLeastOnce,
        retain: true,
        origin: Origin::Device,
        packet_id: None,
        properties: properties::Properties::NONE,
    },
    offset: Offset(0),
    retained: false,
    waited_s: 0,
};

impl Connection {
    fn deliver(&mut self, message: &Message<'_>, grant: Grant<'_>) -> Delivered {
        self.session.deliver(message, grant, &mut self.out)
    }

    /// The client subscribes; `enter` says what the driver answers. Gives what it was asked.
    fn subscribe(
        &mut self,
        requests: &[(&str, Qos)],
        sent: &[Property<'_>],
        enter: impl Fn(&str) -> Result<(), Reason>,
    ) -> Vec<(String, Subscription)> {
        let version = self.session.version();
        let (mut bytes, mut asked) = (Vec::new(), Vec::new());
        for &(filter, qos) in requests {
            Request { filter, options: Options::with_qos(qos) }.encode(version, &mut bytes);
        }
        let sent = super::properties(sent);
        let subscribe = Subscribe {
            packet_id: id(0x102),
            properties: checked(Carrier::Subscribe, &sent),
            requests: Requests::new(version, &bytes).unwrap(),
        };
        let bytes = encoded(version, &Packet::Subscribe(subscribe));
        assert_eq!(self.handle(&bytes), Effect::Subscribe(subscribe));
        self.session.answer_subscribe(&subscribe, &mut self.out, |filter, subscription| {
            asked.push((filter.to_owned(), subscription));
            enter(filter)
        });
        asked
    }
}

#[test]
fn who_takes_small_packets_is_not_told_in_words() {
    let sent =
        super::properties(&[Property::MaximumPacketSize(NonZeroU32::new(64).expect("not 0"))]);
    let asked = Connect { properties: checked(Carrier::Connect, &sent), ..connect(V5) };
    let mut connection = Connection::accepted(&asked);
    let enter = |_: &str| Err(Reason::NotAuthorized);
    connection.subscribe(&[("secret", Qos::AtLeastOnce); 20], &[], enter);
    assert_eq!(connection.sent(), [&b"\x90\x17\x01\x02\0"[..], &[0x87; 20]].concat());
}

#[test]
fn what_is_asked_is_granted_or_refused_one_by_one() {
    let requests = [
        ("a/#", Qos::AtMostOnce),
        ("b", Qos::AtLeastOnce),
        ("c", Qos::ExactlyOnce),
        ("$share/g/d", Qos::AtLeastOnce),
        ("secret", Qos::AtLeastOnce),
        ("busy", Qos::AtLeastOnce),
    ];
    let enter = |filter: &str| match filter {
        "busy" => Err(Reason::ServerBusy),
        "secret" => Err(Reason::NotAuthorized),
        _ => Ok(()),
    };
    for (version, sent, answer) in [
        (
            V5,
            &[Property::SubscriptionIdentifier(NonZeroU32::MIN)][..],
            &b"\x90\x35\x01\x02\x2c\x1f\0\x29nothing that a filter selects may be read\0\x01\x02\x01\x87\x80"[..],
        ),
        (V311, &[], b"\x90\x08\x01\x02\0\x01\x02\x01\x80\x80"),
    ] {
        let mut connection = Connection::accepted(&connect(version));
        let asked = connection.subscribe(&requests, sent, enter);
        assert_eq!(connection.sent(), answer);
        let identifier = sent.first().map(|_| NonZeroU32::MIN);
        let expected = [
            ("a/#", Qos::AtMostOnce),
            ("b", Qos::AtLeastOnce),
            ("c", Qos::ExactlyOnce),
            ("$share/g/d", Qos::AtLeastOnce),
            ("secret", Qos::AtLeastOnce),
            ("busy", Qos::AtLeastOnce),
        ]
        .map(|(filter, qos)| {
            (filter.to_owned(), Subscription { options: Options::with_qos(qos), identifier })
        });
        assert_eq!(asked, expected);
    }
}

#[test]
fn the_end_of_a_subscription_is_confirmed() {
    let mut bytes = Vec::new();
    Filters::encode("a/#", &mut bytes);
    Filters::encode("b", &mut bytes);
    let filters = Filters::new(&bytes).unwrap();
    for (version, answer) in
        [(V5, &b"\xB0\x05\0\x07\0\x00\x11"[..]), (V311, &b"\xB0\x02\0\x07"[..])]
    {
        let mut connection = Connection::accepted(&connect(version));
        let unsubscribe = Unsubscribe { packet_id: id(7), properties: Properties::NONE, filters };
        let bytes = encoded(version, &Packet::Unsubscribe(unsubscribe));
        assert_eq!(connection.handle(&bytes), Effect::Unsubscribe(unsubscribe));
        let mut removed = Vec::new();
        connection.session.answer_unsubscribe(&unsubscribe, &mut connection.out, |filter| {
            removed.push(filter.to_owned());
            filter == "a/#"
        });
        assert_eq!(removed, ["a/#", "b"]);
        assert_eq!(connection.sent(), answer);
    }
}

#[test]
fn an_answer_that_the_client_cannot_take_ends_the_connection() {
    let size = properties(&[Property::MaximumPacketSize(64.try_into().unwrap())]);
    let asked = Connect { properties: checked(Carrier::Connect, &size), ..connect(V5) };
    let mut connection = Connection::accepted(&asked);
    connection.subscribe(&[("a", Qos::AtMostOnce); 56], &[], |_| Ok(()));
    assert!(connection.sent().len() <= 64);
    let mut bytes = Vec::new();
    for _ in 0..57 {
        Filters::encode("a", &mut bytes);
    }
    let filters = Filters::new(&bytes).unwrap();
    let unsubscribe = Unsubscribe { packet_id: id(7), properties: Properties::NONE, filters };
    let closed = connection.send(&Packet::Unsubscribe(unsubscribe));
    assert_eq!(closed, close(Reason::PacketTooLarge, "MQTT-3.1.2-24"));
    assert_eq!(connection.sent(), break_off(Reason::PacketTooLarge, "MQTT-3.1.2-24"));
}

#[test]
fn a_message_goes_at_the_lower_quality_of_service() {
    for version in [V311, V5] {
        for (published, granted, expected) in [
            (Qos::AtMostOnce, Qos::AtLeastOnce, Delivery::AtMostOnce),
            (Qos::AtLeastOnce, Qos::AtMostOnce, Delivery::AtMostOnce),
            (Qos::AtLeastOnce, Qos::AtLeastOnce, at_least_once(1).delivery),
            (Qos::ExactlyOnce, Qos::AtLeastOnce, at_least_once(1).delivery),
            (
                Qos::ExactlyOnce,
                Qos::ExactlyOnce,
                Delivery::ExactlyOnce { packet_id: id(1), dup: false },
            ),
        ] {
            let mut connection = Connection::accepted(&connect(version));
            let event = Event { qos: published, ..MESSAGE.event };
            let message = Message { event, ..MESSAGE };
            let grant = Grant { qos: granted, ..GRANT };
            assert_eq!(connection.deliver(&message, grant), Delivered::Sent);
            let expected = Publish {
                delivery: expected,
                retain: false,
                topic: "a",
                properties: Properties::NONE,
                payload: b"x",
            };
            assert_eq!(connection.sent(), encoded(version, &Packet::Publish(expected)));
        }
    }
}

#[test]
fn what_the_publisher_said_is_passed_on_and_what_the_connection_said_is_not() {
    let published = properties(&[
        Property::TopicAlias(id(3)),
        Property::MessageExpiry(10),
        Property::PayloadFormatText(true),
        Property::User("b", "1"),
        Property::ContentType("t"),
        Property::ResponseTopic("r"),
        Property::CorrelationData(b"c"),
        Property::User("a", "2"),
    ]);
    let event = Event { properties: properties::Properties(&published), ..MESSAGE.event };
    let message = Message { event, waited_s: 4, ..MESSAGE };
    let identifiers = [NonZeroU32::new(7).unwrap(), NonZeroU32::new(300).unwrap()];
    let grant =
        Grant { qos: Qos::AtMostOnce, retain_as_published: true, identifiers: &identifiers };
    let forwarded = properties(&[
        Property::PayloadFormatText(true),
        Property::User("b", "1"),
        Property::ContentType("t"),
        Property::ResponseTopic("r"),
        Property::CorrelationData(b"c"),
        Property::User("a", "2"),
        Property::MessageExpiry(6),
        Property::SubscriptionIdentifier(identifiers[0]),
        Property::SubscriptionIdentifier(identifiers[1]),
    ]);
    let expected = |properties| Publish {
        delivery: Delivery::AtMostOnce,
        retain: true,
        topic: "a",
        properties,
        payload: b"x",
    };
    let mut connection = Connection::accepted(&connect(V5));
    assert_eq!(connection.deliver(&message, grant), Delivered::Sent);
    let properties = checked(Carrier::Publish, &forwarded);
    assert_eq!(connection.sent(), encoded(V5, &Packet::Publish(expected(properties))));
    let mut connection = Connection::accepted(&connect(V311));
    assert_eq!(connection.deliver(&message, grant), Delivered::Sent);
    let properties = Properties::NONE;
    assert_eq!(connection.sent(), encoded(V311, &Packet::Publish(expected(properties))));
}

#[test]
fn a_message_that_is_of_no_use_any_more_is_not_sent() {
    for (expiry_s, waited_s, expected) in [
        (10, 9, Delivered::Sent),
        (10, 10, Delivered::Expired),
        (10, 11, Delivered::Expired),
        (0, 0, Delivered::Sent),
        (0, 1, Delivered::Expired),
    ] {
        let published = properties(&[Property::MessageExpiry(expiry_s)]);
        let event = Event { properties: properties::Properties(&published), ..MESSAGE.event };
        let mut connection = Connection::accepted(&connect(V5));
        assert_eq!(connection.deliver(&Message { event, waited_s, ..MESSAGE }, GRANT), expected);
        assert_eq!(connection.sent().is_empty(), expected != Delivered::Sent);
    }
}

#[test]
fn no_more_is_under_way_than_the_client_takes() {
    let maximum = properties(&[Property::ReceiveMaximum(id(2))]);
    let asked = Connect { properties: checked(Carrier::Connect, &maximum), ..connect(V5) };
    let mut connection = Connection::accepted(&asked);
    assert_eq!(connection.deliver(&MESSAGE, GRANT), Delivered::Sent);
    assert_eq!(connection.deliver(&MESSAGE, GRANT), Delivered::Sent);
    connection.out.clear();
    assert!(connection.session.is_busy());
    assert_eq!(connection.deliver(&MESSAGE, GRANT), Delivered::Busy);
    assert_eq!(connection.sent(), b"");
    let at_most_once = Grant { qos: Qos::AtMostOnce, ..GRANT };
    assert_eq!(connection.deliver(&MESSAGE, at_most_once), Delivered::Sent);
    connection.out.clear();
    assert_eq!(connection.handle(b"\x40\x02\0\x09"), Effect::None);
    assert!(connection.session.is_busy());
    assert!(matches!(connection.handle(b"\x40\x03\0\x02\x87"), Effect::Acknowledged(_)));
    assert_eq!(connection.deliver(&MESSAGE, GRANT), Delivered::Sent);
    assert!(connection.sent().starts_with(b"\x32\x07\0\x01a\0\x03"));
    assert_eq!(connection.deliver(&MESSAGE, GRANT), Delivered::Busy);
}

#[test]
fn the_settings_bound_what_is_under_way_too() {
    let settings = Settings { in_flight_max: id(1), ..Settings::default() };
    let mut connection = Connection::accepted_with(&settings, &connect(V311));
    assert_eq!(connection.deliver(&MESSAGE, GRANT), Delivered::Sent);
    assert_eq!(connection.deliver(&MESSAGE, GRANT), Delivered::Busy);
}

#[test]
fn an_identifier_under_way_is_not_used_again() {
    let mut connection = Connection::accepted(&connect(V311));
    assert_eq!(connection.deliver(&MESSAGE, GRANT), Delivered::Sent);
    for packet_id in (2..=u16::MAX).chain([2, 3]) {
        connection.out.clear();
        assert_eq!(connection.deliver(&MESSAGE, GRANT), Delivered::Sent);
        let [high, low] = packet_id.to_be_bytes();
        assert_eq!(connection.sent(), [0x32, 6, 0, 1, b'a', high, low, b'x']);
        assert!(matches!(connection.handle(&[0x40, 2, high, low]), Effect::Acknowledged(_)));
    }
}

#[test]
fn what_is_too_large_for_the_client_is_not_sent() {
    let size = properties(&[Property::MaximumPacketSize(64.try_into().unwrap())]);
    let asked = Connect { properties: checked(Carrier::Connect, &size), ..connect(V5) };
    // Fixed header 2, topic 3, packet identifier 2, property length 1.
    for (payload_bytes, expected) in [(56, Delivered::Sent), (57, Delivered::TooLarge)] {
        let payload = alloc::vec![0; payload_bytes];
        let event = Event { payload: &payload, ..MESSAGE.event };
        let message = Message { event, ..MESSAGE };
        let mut connection = Connection::accepted(&asked);
        connection.out.extend_from_slice(b"before");
        assert_eq!(connection.deliver(&message, GRANT), expected);
        let sent_bytes = if expected == Delivered::Sent { 64 } else { 0 };
        assert_eq!(connection.sent().len(), b"before".len() + sent_bytes);
        assert_eq!(connection.deliver(&MESSAGE, GRANT), Delivered::Sent);
        let next_id = if expected == Delivered::Sent { 2 } else { 1 };
        assert!(connection.sent().starts_with(&[0x32, 7, 0, 1, b'a', 0, next_id]));
    }
}

#[test]
fn a_topic_that_mqtt_cannot_spell_is_not_sent() {
    let topic = "t".repeat(65_536);
    let event = Event { topic: &topic, ..MESSAGE.event };
    let mut connection = Connection::accepted(&connect(V5));
    assert_eq!(connection.deliver(&Message { event, ..MESSAGE }, GRANT), Delivered::TooLarge);
    assert_eq!(connection.sent(), b"");
}

#[test]
fn an_unknown_acknowledgement_is_no_error() {
    for version in [V311, V5] {
        let mut connection = Connection::accepted(&connect(version));
        assert_eq!(connection.send(&Packet::PubAck(Ack::success(id(5)))), None);
        assert_eq!(connection.sent(), b"");
        assert!(connection.session.wants_packet());
    }
}
