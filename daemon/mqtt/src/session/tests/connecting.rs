//! From the opening of a connection to the answer to its CONNECT.

use alloc::string::String;

use super::*;
use crate::codec::Version::V31;
use crate::session::Kept;
use tributary_core::record::Qos;

/// Hands in a CONNECT that is answered at once; gives what was sent.
fn refused(connect: &Connect<'_>, reason: Reason) -> Vec<u8> {
    let mut connection = Connection::opened(&Settings::default());
    let bytes = encoded(connect.version, &Packet::Connect(*connect));
    let Effect::Close(close) = connection.handle(&bytes) else { panic!("{connect:?} is served") };
    assert_eq!(close.reason, reason);
    assert!(!connection.session.wants_packet());
    assert_eq!(connection.session.take_will(), None);
    connection.sent()
}

#[test]
fn limits_are_announced() {
    let mut connection = Connection::opened(&Settings::default());
    let asked = properties(&[Property::SessionExpiry(u32::MAX)]);
    let asked =
        Connect { client_id: "", properties: checked(Carrier::Connect, &asked), ..connect(V5) };
    let bytes = encoded(V5, &Packet::Connect(asked));
    assert_eq!(connection.handle(&bytes), Effect::Connect(asked));
    assert!(!connection.session.wants_packet());
    assert_eq!(connection.sent(), b"");
    connection.session.accept(
        START,
        Welcome { assigned: Some("t-1"), ..Welcome::default() },
        &mut connection.out,
    );
    let welcome = [
        &b"\x20\x19\0\0\x16"[..],
        b"\x11\0\x27\x8D\0", // Session Expiry Interval 30 days
        b"\x21\x04\0",       // Receive Maximum 1024
        b"\x27\0\x04\0\0",   // Maximum Packet Size 256 KiB
        b"\x12\0\x03t-1",    // Assigned Client Identifier
        b"\x22\0\x10",       // Topic Alias Maximum 16
    ]
    .concat();
    assert_eq!(connection.sent(), welcome);
    assert_eq!(connection.session.client_id(), "t-1");
    assert!(connection.session.wants_packet());
}

#[test]
fn mqtt_3_1_1_gets_no_session_from_before() {
    for clean_start in [true, false] {
        let mut connection = Connection::opened(&Settings::default());
        let asked = Connect { clean_start, ..connect(V311) };
        let bytes = encoded(V311, &Packet::Connect(asked));
        assert_eq!(connection.handle(&bytes), Effect::Connect(asked));
        connection.session.accept(START, Welcome::default(), &mut connection.out);
        assert_eq!(connection.sent(), b"\x20\x02\0\0");
    }
}

#[test]
fn mqtt_3_1_is_served_as_3_1_1_but_for_what_it_does_not_know() {
    let mut connection = Connection::opened(&Settings::default());
    // The lowest flag means nothing yet.
    let effect = connection.handle(b"\x10\x13\0\x06MQIsdp\x03\x03\0\x3C\0\x05press");
    assert_eq!(effect, Effect::Connect(connect(V31)));
    let kept = Some(Kept::default());
    let welcome = Welcome { kept, lasting: true, ..Welcome::default() };
    connection.session.accept(START, welcome, &mut connection.out);
    assert_eq!(connection.sent(), b"\x20\x02\0\0", "no flag tells of a session");
    // Sent again, with DUP.
    let effect = connection.handle(b"\x8a\x06\0\x01\0\x01t\x01");
    assert!(matches!(effect, Effect::Subscribe(_)), "{effect:?}");
    let effect = connection.handle(b"\xaa\x05\0\x02\0\x01t");
    assert!(matches!(effect, Effect::Unsubscribe(_)), "{effect:?}");
}

#[test]
fn a_3_1_1_client_that_wants_a_session_needs_a_name() {
    let nameless = Connect { client_id: "", clean_start: false, ..connect(V311) };
    assert_eq!(refused(&nameless, Reason::ClientIdNotValid), b"\x20\x02\0\x02");
    let mut connection = Connection::opened(&Settings::default());
    let nameless = Connect { client_id: "", ..connect(V311) };
    let bytes = encoded(V311, &Packet::Connect(nameless));
    assert_eq!(connection.handle(&bytes), Effect::Connect(nameless));
    connection.session.accept(
        START,
        Welcome { assigned: Some("t-2"), ..Welcome::default() },
        &mut connection.out,
    );
    assert_eq!(connection.session.client_id(), "t-2");
}

#[test]
fn what_cannot_be_served_is_refused_by_its_name() {
    let name = "n".repeat(1025);
    let long = Connect { client_id: &name, ..connect(V5) };
    assert_eq!(refused(&long, Reason::ClientIdNotValid), b"\x20\x03\0\x85\0");
    let long = Connect { version: V311, ..long };
    assert_eq!(refused(&long, Reason::ClientIdNotValid), b"\x20\x02\0\x02");
    let method = properties(&[Property::AuthenticationMethod("SCRAM")]);
    let auth = Connect { properties: checked(Carrier::Connect, &method), ..connect(V5) };
    assert_eq!(refused(&auth, Reason::BadAuthenticationMethod), b"\x20\x03\0\x8C\0");
    let size = properties(&[Property::MaximumPacketSize(63.try_into().unwrap())]);
    let small = Connect { properties: checked(Carrier::Connect, &size), ..connect(V5) };
    assert_eq!(refused(&small, Reason::ImplementationSpecific), b"\x20\x03\0\x83\0");
}

#[test]
fn a_will_of_any_kind_is_served() {
    let asked = LastWill { qos: Qos::ExactlyOnce, retain: true, ..will() };
    for version in [V311, V5] {
        let mut connection =
            Connection::accepted(&Connect { will: Some(asked), ..connect(version) });
        let will = connection.session.take_will().unwrap();
        assert_eq!(will.event(TIME).qos, Qos::ExactlyOnce);
        assert!(will.event(TIME).retain);
    }
}

#[test]
fn a_will_may_be_as_large_as_a_packet() {
    let properties = super::publishing::many(200_000);
    let asked = LastWill { properties: checked(Carrier::Will, &properties), ..will() };
    let mut connection = Connection::accepted(&Connect { will: Some(asked), ..connect(V5) });
    let will = connection.session.take_will().expect("it left one");
    assert_eq!(will.event(TIME).properties.0, properties);
}

#[test]
fn a_session_lasts_as_long_as_asked_and_allowed() {
    let settings = Settings { session_expiry_max_s: 100, ..Settings::default() };
    let expiry = |seconds| properties(&[Property::SessionExpiry(seconds)]);
    let (short, long) = (expiry(60), expiry(1000));
    for (version, clean_start, properties, expected) in [
        (V311, true, Properties::NONE, 0),
        (V311, false, Properties::NONE, 100),
        (V5, false, Properties::NONE, 0),
        (V5, true, checked(Carrier::Connect, &short), 60),
        (V5, true, checked(Carrier::Connect, &long), 100),
    ] {
        let mut connection = Connection::opened(&settings);
        let asked = Connect { clean_start, properties, ..connect(version) };
        let bytes = encoded(version, &Packet::Connect(asked));
        assert_eq!(connection.handle(&bytes), Effect::Connect(asked));
        assert_eq!(connection.session.expiry_s(), expected);
    }
}

#[test]
fn a_broken_connect_is_answered_as_far_as_the_client_understands() {
    for (bytes, reason, answer) in [
        (
            &b"\x10\x0F\0\x04MQTT\x05\x03\0\0\0\0\x02ab"[..],
            Reason::MalformedPacket,
            &b"\x20\x03\0\x81\0"[..],
        ),
        (b"\x10\x0D\0\x04MQTT\x04\x03\0\0\0\x01a", Reason::MalformedPacket, b""),
        (
            b"\x10\x0D\0\x04MQTT\x06\x02\0\0\0\x01a",
            Reason::UnsupportedProtocolVersion,
            b"\x20\x03\0\x84\0",
        ),
        (
            b"\x10\x0D\0\x04MQTT\x02\x02\0\0\0\x01a",
            Reason::UnsupportedProtocolVersion,
            b"\x20\x02\0\x01",
        ),
        (
            b"\x10\x0D\0\x04MQTT\x84\x02\0\0\0\x01a",
            Reason::UnsupportedProtocolVersion,
            b"\x20\x02\0\x01",
        ),
        (b"\x10\x0D\0\x04HTTP\x05\x02\0\0\0\x01a", Reason::UnsupportedProtocolVersion, b""),
        (b"GET / HTTP/1.1\r\n", Reason::ProtocolError, b""),
        (b"\xC0\0", Reason::ProtocolError, b""),
    ] {
        let mut connection = Connection::opened(&Settings::default());
        let Effect::Close(close) = connection.handle(bytes) else { panic!("{bytes:?}") };
        assert_eq!((close.reason, &connection.out[..]), (reason, answer), "{bytes:?}");
        assert!(!connection.session.wants_packet());
    }
}

#[test]
fn the_driver_may_turn_a_client_away() {
    for (version, reason, answer) in [
        (V5, Reason::BadUserNameOrPassword, &b"\x20\x03\0\x86\0"[..]),
        (V5, Reason::SessionTakenOver, b"\x20\x03\0\x80\0"),
        (
            V5,
            Reason::ConnectionRateExceeded,
            b"\x20\x24\0\x9f\x21\x1f\0\x1etoo many wrong passwords: wait",
        ),
        (V311, Reason::BadUserNameOrPassword, b"\x20\x02\0\x04"),
        (V311, Reason::NotAuthorized, b"\x20\x02\0\x05"),
        (V311, Reason::QuotaExceeded, b"\x20\x02\0\x03"),
    ] {
        let mut connection = Connection::opened(&Settings::default());
        let asked = Connect { will: Some(will()), ..connect(version) };
        let bytes = encoded(version, &Packet::Connect(asked));
        assert_eq!(connection.handle(&bytes), Effect::Connect(asked));
        connection.session.refuse(reason, &mut connection.out);
        assert_eq!(connection.sent(), answer);
        assert!(!connection.session.wants_packet());
        assert_eq!(connection.session.take_will(), None);
    }
}

#[test]
fn the_will_of_a_client_that_was_never_accepted_is_not_published() {
    let mut connection = Connection::opened(&Settings::default());
    let asked = Connect { will: Some(will()), ..connect(V311) };
    let bytes = encoded(V311, &Packet::Connect(asked));
    assert_eq!(connection.handle(&bytes), Effect::Connect(asked));
    assert_eq!(connection.session.take_will(), None);
}

#[test]
fn what_follows_a_connect_is_left_until_it_is_answered() {
    let mut connection = Connection::opened(&Settings::default());
    let mut bytes = encoded(V311, &Packet::Connect(connect(V311)));
    let end = bytes.len();
    bytes.extend_from_slice(&encoded(V311, &Packet::PingReq));
    let step = connection.session.handle_bytes(START, &bytes, &mut connection.out);
    assert_eq!((step.used, step.effect), (end, Effect::Connect(connect(V311))));
    assert!(!connection.session.wants_packet());
    connection.session.accept(START, Welcome::default(), &mut connection.out);
    assert_eq!(connection.handle(&bytes[end..]), Effect::None);
    assert_eq!(connection.sent(), b"\x20\x02\0\0\xD0\0");
}

#[test]
fn a_second_connect_ends_the_connection() {
    let mut connection = Connection::accepted(&connect(V5));
    let closed = connection.send(&Packet::Connect(connect(V5)));
    assert_eq!(closed, close(Reason::ProtocolError, "MQTT-3.1.0-2"));
    assert_eq!(connection.sent(), break_off(Reason::ProtocolError, "MQTT-3.1.0-2"));
    for broken in [&b"\x10\x0D\0\x04MQTT\x06\x02\0\0\0\x01a"[..], b"\x10\x06\0\x04HTTP"] {
        let mut connection = Connection::accepted(&connect(V5));
        let effect = connection.handle(broken);
        assert_eq!(Some(effect), closed.map(Effect::Close));
        assert_eq!(connection.sent(), break_off(Reason::ProtocolError, "MQTT-3.1.0-2"));
    }
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let mut connection = Connection::opened(&Settings::default());
    let step = connection.session.handle_bytes(START, b"\x10", &mut connection.out);
    assert_eq!((step.used, step.effect), (0, Effect::Incomplete));
    assert_eq!(connection.session.poll_timeout(), Some(START.plus_ms(10_000)));
    assert_eq!(connection.pass_ms(9_999), Effect::None);
    assert!(matches!(connection.pass_ms(1), Effect::Close(_)));
    assert_eq!(connection.sent(), b"");
    assert_eq!(connection.session.poll_timeout(), None);
}

#[test]
fn a_decision_that_takes_too_long_is_a_refusal() {
    let mut connection = Connection::opened(&Settings::default());
    let bytes = encoded(V5, &Packet::Connect(connect(V5)));
    assert_eq!(connection.handle(&bytes), Effect::Connect(connect(V5)));
    assert!(matches!(connection.pass_ms(10_000), Effect::Close(_)));
    assert_eq!(connection.sent(), b"\x20\x03\0\x88\0");
}

#[test]
fn the_listener_may_shorten_the_keep_alive_of_mqtt_5() {
    let settings = Settings { keep_alive_max_s: 30, ..Settings::default() };
    for (version, asked_s, announced, silence_ms) in [
        (V5, 60, true, 45_000),
        (V5, 0, true, 45_000),
        (V5, 20, false, 30_000),
        (V311, 60, false, 90_000),
    ] {
        let mut connection = Connection::opened(&settings);
        let asked = Connect { keep_alive_s: asked_s, ..connect(version) };
        let bytes = encoded(version, &Packet::Connect(asked));
        assert_eq!(connection.handle(&bytes), Effect::Connect(asked));
        connection.session.accept(START, Welcome::default(), &mut connection.out);
        assert_eq!(connection.sent().ends_with(b"\x13\0\x1E"), announced);
        assert_eq!(connection.session.poll_timeout(), Some(START.plus_ms(silence_ms)));
    }
}

#[test]
fn the_smallest_client_gets_the_largest_welcome() {
    let size = properties(&[
        Property::MaximumPacketSize(64.try_into().unwrap()),
        Property::SessionExpiry(1),
    ]);
    let asked =
        Connect { client_id: "", properties: checked(Carrier::Connect, &size), ..connect(V5) };
    let settings = Settings { keep_alive_max_s: 1, ..Settings::default() };
    let mut connection = Connection::opened(&settings);
    let bytes = encoded(V5, &Packet::Connect(asked));
    assert_eq!(connection.handle(&bytes), Effect::Connect(asked));
    let assigned: String = "x".repeat(crate::limits::ASSIGNED_ID_BYTES_MAX);
    connection.session.accept(
        START,
        Welcome { assigned: Some(&assigned), ..Welcome::default() },
        &mut connection.out,
    );
    assert!(connection.out.len() <= 64, "{}", connection.out.len());
}
