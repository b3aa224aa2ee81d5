//! From the opening of a connection to the answer to its CONNECT.

use alloc::string::String;

use super::*;
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
fn what_is_not_served_is_announced() {
    let mut connection = Connection::opened(&Settings::default());
    let asked = properties(&[Property::SessionExpiry(3600)]);
    let asked =
        Connect { client_id: "", properties: checked(Carrier::Connect, &asked), ..connect(V5) };
    let bytes = encoded(V5, &Packet::Connect(asked));
    assert_eq!(connection.handle(&bytes), Effect::Connect(asked));
    assert!(!connection.session.wants_packet());
    assert_eq!(connection.sent(), b"");
    connection.session.accept(START, Some("t-1"), &mut connection.out);
    let welcome = [
        &b"\x20\x1F\0\0\x1C"[..],
        b"\x11\0\0\0\0",   // Session Expiry Interval 0
        b"\x21\x04\0",     // Receive Maximum 1024
        b"\x24\x01",       // Maximum QoS 1
        b"\x25\0",         // Retain Available 0
        b"\x27\0\x04\0\0", // Maximum Packet Size 256 KiB
        b"\x12\0\x03t-1",  // Assigned Client Identifier
        b"\x22\0\x10",     // Topic Alias Maximum 16
        b"\x2A\0",         // Shared Subscription Available 0
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
        connection.session.accept(START, None, &mut connection.out);
        assert_eq!(connection.sent(), b"\x20\x02\0\0");
    }
}

#[test]
fn mqtt_3_1_is_served_as_3_1_1() {
    let mut connection = Connection::opened(&Settings::default());
    let effect = connection.handle(b"\x10\x13\0\x06MQIsdp\x03\x02\0\x3C\0\x05press");
    assert_eq!(effect, Effect::Connect(connect(V311)));
}

#[test]
fn a_3_1_1_client_that_wants_a_session_needs_a_name() {
    let nameless = Connect { client_id: "", clean_start: false, ..connect(V311) };
    assert_eq!(refused(&nameless, Reason::ClientIdNotValid), b"\x20\x02\0\x02");
    let mut connection = Connection::opened(&Settings::default());
    let nameless = Connect { client_id: "", ..connect(V311) };
    let bytes = encoded(V311, &Packet::Connect(nameless));
    assert_eq!(connection.handle(&bytes), Effect::Connect(nameless));
    connection.session.accept(START, Some("t-2"), &mut connection.out);
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
fn a_will_beyond_what_is_served_is_refused_where_the_client_can_know() {
    let exactly_once = LastWill { qos: Qos::ExactlyOnce, ..will() };
    let retained = LastWill { retain: true, ..will() };
    let asked = Connect { will: Some(exactly_once), ..connect(V5) };
    assert_eq!(refused(&asked, Reason::QosNotSupported), b"\x20\x03\0\x9B\0");
    let asked = Connect { will: Some(retained), ..connect(V5) };
    assert_eq!(refused(&asked, Reason::RetainNotSupported), b"\x20\x03\0\x9A\0");
    let both = LastWill { retain: true, ..exactly_once };
    let mut connection = Connection::accepted(&Connect { will: Some(both), ..connect(V311) });
    let will = connection.session.take_will().unwrap();
    assert_eq!(will.event(TIME).qos, Qos::ExactlyOnce);
    assert!(will.event(TIME).retain);
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
    connection.session.accept(START, None, &mut connection.out);
    assert_eq!(connection.handle(&bytes[end..]), Effect::None);
    assert_eq!(connection.sent(), b"\x20\x02\0\0\xD0\0");
}

#[test]
fn a_second_connect_ends_the_connection() {
    let mut connection = Connection::accepted(&connect(V5));
    let closed = connection.send(&Packet::Connect(connect(V5)));
    assert_eq!(closed, close(Reason::ProtocolError, "MQTT-3.1.0-2"));
    assert_eq!(connection.sent(), disconnect(Reason::ProtocolError));
    for broken in [&b"\x10\x0D\0\x04MQTT\x06\x02\0\0\0\x01a"[..], b"\x10\x06\0\x04HTTP"] {
        let mut connection = Connection::accepted(&connect(V5));
        let effect = connection.handle(broken);
        assert_eq!(Some(effect), closed.map(Effect::Close));
        assert_eq!(connection.sent(), disconnect(Reason::ProtocolError));
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
        connection.session.accept(START, None, &mut connection.out);
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
    connection.session.accept(START, Some(&assigned), &mut connection.out);
    assert!(connection.out.len() <= 64, "{}", connection.out.len());
}
