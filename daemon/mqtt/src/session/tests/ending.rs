//! How connections end, and what is published afterwards.

use super::*;
use tributary_core::Offset;
use tributary_core::properties;
use tributary_core::record::{Event, Origin, Qos};

use crate::codec::ack::Ack;
use crate::codec::connack::ConnAck;
use crate::codec::disconnect::Auth;
use crate::codec::reason::Reasons;
use crate::codec::subscribe::SubAck;
use crate::codec::unsubscribe::UnsubAck;
use crate::session::{Delivered, Message};
use crate::subscriptions::Grant;

fn with_will(version: Version) -> Connection {
    Connection::accepted(&Connect { will: Some(will()), ..connect(version) })
}

#[test]
fn a_client_that_takes_its_leave_takes_its_will_with_it() {
    for version in [V311, V5] {
        let mut connection = with_will(version);
        let leave = Disconnect { reason: Reason::Success, properties: Properties::NONE };
        let closed = connection.send(&Packet::Disconnect(leave));
        assert_eq!(closed, close(Reason::Success, "MQTT-3.14.4-3"));
        assert_eq!(connection.sent(), b"");
        assert_eq!(connection.session.take_will(), None);
    }
}

#[test]
fn a_client_may_leave_its_will_behind() {
    for reason in [Reason::DisconnectWithWill, Reason::Unspecified] {
        let mut connection = with_will(V5);
        let leave = Disconnect { reason, properties: Properties::NONE };
        let closed = connection.send(&Packet::Disconnect(leave));
        assert_eq!(closed, close(reason, "MQTT-3.14.4-3"));
        assert!(connection.session.take_will().is_some());
    }
}

#[test]
fn a_will_is_published_once_after_any_other_end() {
    let ends: [fn(&mut Connection); 5] = [
        |_connection_lost| {},
        |connection| assert!(connection.send(&Packet::PingResp).is_some()),
        |connection| assert!(matches!(connection.pass_ms(90_000), Effect::Close(_))),
        |connection| {
            let effect = connection.session.take_over(&mut connection.out);
            assert!(matches!(effect, Effect::Close(_)));
        },
        |connection| {
            let effect = connection.session.shut_down(&mut connection.out);
            assert!(matches!(effect, Effect::Close(_)));
        },
    ];
    for end in ends {
        let mut connection = with_will(V5);
        end(&mut connection);
        let will = connection.session.take_will().unwrap();
        let expected = Event {
            topic: "plant/press/state",
            payload: b"gone",
            client: "press",
            time: TIME,
            qos: Qos::AtLeastOnce,
            retain: false,
            origin: Origin::Device,
            packet_id: None,
            properties: properties::Properties::NONE,
        };
        assert_eq!((will.event(TIME), will.delay_s()), (expected, 0));
        assert_eq!(connection.session.take_will(), None);
        assert!(!connection.session.wants_packet());
    }
}

#[test]
fn the_properties_of_a_will_travel_without_its_delay() {
    let sent = [
        Property::User("a", "1"),
        Property::WillDelay(30),
        Property::MessageExpiry(9),
        Property::User("b", "2"),
    ];
    let sent = super::properties(&sent);
    let will = LastWill { properties: checked(Carrier::Will, &sent), ..will() };
    let mut connection = Connection::accepted(&Connect { will: Some(will), ..connect(V5) });
    let will = connection.session.take_will().unwrap();
    assert_eq!(will.delay_s(), 30);
    let found: Vec<_> = will.event(TIME).properties.iter().collect();
    assert_eq!(
        found,
        [
            properties::Property::User("a", "1"),
            properties::Property::MessageExpiry(9),
            properties::Property::User("b", "2"),
        ]
    );
}

#[test]
fn silence_of_one_and_a_half_times_the_keep_alive_ends_the_connection() {
    for (version, answer) in [(V5, disconnect(Reason::KeepAliveTimeout)), (V311, Vec::new())] {
        let mut connection = Connection::accepted(&connect(version));
        assert_eq!(connection.pass_ms(89_999), Effect::None);
        assert_eq!(connection.send(&Packet::PingReq), None);
        assert_eq!(connection.sent(), b"\xD0\0");
        let deadline = connection.now.plus_ms(90_000);
        assert_eq!(connection.session.poll_timeout(), Some(deadline));
        assert_eq!(connection.pass_ms(89_999), Effect::None);
        let effect = connection.pass_ms(1);
        let expected = close(Reason::KeepAliveTimeout, "MQTT-3.1.2-22");
        assert_eq!(Some(effect), expected.map(Effect::Close));
        assert_eq!(connection.sent(), answer);
    }
}

#[test]
fn a_part_of_a_packet_is_no_sign_of_life() {
    let mut connection = Connection::accepted(&connect(V5));
    connection.now = connection.now.plus_ms(80_000);
    let step = connection.session.handle_bytes(connection.now, b"\xC0", &mut connection.out);
    assert_eq!((step.used, step.effect), (0, Effect::Incomplete));
    assert!(matches!(connection.pass_ms(10_000), Effect::Close(_)));
}

#[test]
fn a_client_without_keep_alive_may_be_silent() {
    let mut connection = Connection::accepted(&Connect { keep_alive_s: 0, ..connect(V311) });
    assert_eq!(connection.session.poll_timeout(), None);
    assert_eq!(connection.pass_ms(u64::MAX / 2), Effect::None);
}

#[test]
fn a_client_that_is_not_read_is_not_silent() {
    let settings = Settings { unacked_max: id(1), ..Settings::default() };
    let mut connection = Connection::accepted_with(&settings, &connect(V311));
    assert_eq!(connection.send(&Packet::Publish(at_least_once(1))), None);
    assert_eq!(connection.pass_ms(90_000), Effect::None);
    assert_eq!(connection.session.poll_timeout(), Some(connection.now.plus_ms(90_000)));
    connection.session.handle_appended(Offset(0), id(1));
    connection.session.handle_durable(Offset(1), 0, &mut connection.out);
    assert_eq!(connection.pass_ms(89_999), Effect::None);
    connection.session.handle_unread(connection.now);
    assert_eq!(connection.pass_ms(89_999), Effect::None);
    assert!(matches!(connection.pass_ms(1), Effect::Close(_)));
}

#[test]
fn a_client_of_mqtt_5_is_told_why_the_server_ends_it() {
    for (version, taken_over, shut_down) in [
        (V5, disconnect(Reason::SessionTakenOver), disconnect(Reason::ServerShuttingDown)),
        (V311, Vec::new(), Vec::new()),
    ] {
        let mut connection = Connection::accepted(&connect(version));
        let effect = connection.session.take_over(&mut connection.out);
        let expected = close(Reason::SessionTakenOver, "MQTT-3.1.4-3");
        assert_eq!(Some(effect), expected.map(Effect::Close));
        assert_eq!(connection.sent(), taken_over);
        let mut connection = Connection::accepted(&connect(version));
        connection.session.shut_down(&mut connection.out);
        assert_eq!(connection.sent(), shut_down);
    }
}

#[test]
fn a_client_is_not_told_before_it_was_welcomed() {
    let mut connection = Connection::opened(&Settings::default());
    let bytes = encoded(V5, &Packet::Connect(connect(V5)));
    assert_eq!(connection.handle(&bytes), Effect::Connect(connect(V5)));
    connection.session.shut_down(&mut connection.out);
    assert_eq!(connection.sent(), b"");
}

#[test]
fn nothing_is_sent_after_the_end() {
    let mut connection = Connection::accepted(&connect(V5));
    assert_eq!(connection.send(&Packet::Publish(at_least_once(1))), None);
    connection.session.handle_appended(Offset(0), id(1));
    connection.session.take_over(&mut connection.out);
    connection.out.clear();
    connection.session.handle_durable(Offset(1), 0, &mut connection.out);
    let event = Event {
        topic: "a",
        payload: b"x",
        client: "other",
        time: TIME,
        qos: Qos::AtMostOnce,
        retain: false,
        origin: Origin::Device,
        packet_id: None,
        properties: properties::Properties::NONE,
    };
    let grant = Grant { qos: Qos::AtMostOnce, retain_as_published: false, identifiers: &[] };
    let delivered = connection.session.deliver(
        &Message { event, offset: Offset(0), retained: false, waited_s: 0 },
        grant,
        &mut connection.out,
    );
    assert_eq!((delivered, connection.sent()), (Delivered::NotConnected, Vec::new()));
}

#[test]
fn a_disconnect_says_only_what_a_client_may() {
    let expiry = super::properties(&[Property::SessionExpiry(5)]);
    let server = super::properties(&[Property::ServerReference("x")]);
    for (bytes, statement) in [(&expiry, "3.14.2.2.2"), (&server, "3.14.2.2.5")] {
        let mut connection = with_will(V5);
        let properties = checked(Carrier::Disconnect, bytes);
        let leave = Disconnect { reason: Reason::Success, properties };
        let closed = connection.send(&Packet::Disconnect(leave));
        assert_eq!(closed, close(Reason::ProtocolError, statement));
        assert_eq!(connection.sent(), break_off(Reason::ProtocolError, statement));
        assert!(connection.session.take_will().is_some());
    }
    let asked = super::properties(&[Property::SessionExpiry(60)]);
    let asked = Connect { properties: checked(Carrier::Connect, &asked), ..connect(V5) };
    let mut connection = Connection::accepted(&asked);
    let properties = checked(Carrier::Disconnect, &expiry);
    let leave = Disconnect { reason: Reason::Success, properties };
    let closed = connection.send(&Packet::Disconnect(leave));
    assert_eq!(closed, close(Reason::Success, "MQTT-3.14.4-3"));
}

#[test]
fn a_client_does_not_send_what_only_servers_do() {
    let (packet_id, properties) = (id(1), Properties::NONE);
    let reason = Reason::Success;
    let granted = Reasons::of_suback(V5, &[0]).unwrap();
    let ended = Reasons::of_unsuback(&[0]).unwrap();
    for (packet, statement) in [
        (Packet::ConnAck(ConnAck { session_present: false, reason, properties }), "2.1.2"),
        (Packet::SubAck(SubAck { packet_id, properties, reasons: granted }), "2.1.2"),
        (Packet::UnsubAck(UnsubAck { packet_id, properties, reasons: ended }), "2.1.2"),
        (Packet::PingResp, "2.1.2"),
        (Packet::Auth(Auth { reason, properties }), "4.12.1"),
    ] {
        let mut connection = Connection::accepted(&connect(V5));
        assert_eq!(connection.send(&packet), close(Reason::ProtocolError, statement));
        assert_eq!(connection.sent(), break_off(Reason::ProtocolError, statement));
    }
    let mut connection = Connection::accepted(&connect(V311));
    assert_eq!(connection.send(&Packet::PubAck(Ack::success(packet_id))), None);
    let malformed = close(Reason::ProtocolError, "2.1.2");
    assert_eq!(connection.send(&Packet::PingResp), malformed);
    assert_eq!(connection.sent(), b"");
}
