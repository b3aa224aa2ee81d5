//! Clients that send anything, and what a session takes in memory.

use super::*;
use proptest::prelude::*;
use tributary_core::Offset;

use crate::codec::tests::round_trip::parts;

/// What an idle session may take, in bytes.
const IDLE_BYTES_MAX: u64 = 1024;

/// A driver that does what it is told.
fn drive(connection: &mut Connection, bytes: &[u8], chunk: usize) {
    let mut offset = 0;
    let (mut read, mut used) = (0, 0);
    loop {
        if !connection.session.wants_packet() {
            connection.session.handle_durable(Offset(offset), 0, &mut connection.out);
        }
        if !connection.session.wants_packet() {
            return;
        }
        let available = bytes.get(used..read).unwrap_or_default();
        let step = connection.session.handle_bytes(connection.now, available, &mut connection.out);
        used += step.used;
        match step.effect {
            Effect::Incomplete if read == bytes.len() => return,
            Effect::Incomplete => read = (read + chunk).min(bytes.len()),
            Effect::None | Effect::Acknowledged(_) => {}
            Effect::Released(packet_id) => connection.session.hold_pubcomp(packet_id, 0),
            Effect::Received(packet_id) => connection.session.hold_pubrel(packet_id, 0),
            Effect::Connect(connect) => {
                let assigned = connect.client_id.is_empty().then_some("assigned");
                connection.session.accept(
                    connection.now,
                    Welcome { assigned, ..Welcome::default() },
                    &mut connection.out,
                );
            }
            Effect::Publish(publish) => {
                let event = connection.session.event(&publish, TIME);
                assert_eq!(tributary_core::topic::check_name(event.topic), Ok(()));
                if let Some(packet_id) = publish.delivery.packet_id() {
                    connection.session.handle_appended(Offset(offset), packet_id);
                }
                offset += 1;
            }
            Effect::Subscribe(subscribe) => {
                let session = &mut connection.session;
                session.answer_subscribe(&subscribe, &mut connection.out, |_, _| Ok(()));
            }
            Effect::Unsubscribe(unsubscribe) => {
                let session = &mut connection.session;
                session.answer_unsubscribe(&unsubscribe, &mut connection.out, |_| true);
            }
            Effect::Close(_) => {
                assert!(!connection.session.wants_packet());
                return;
            }
        }
    }
}

/// Everything in `out` is a packet that a client understands.
fn check_sent(version: Version, mut sent: &[u8]) {
    use crate::codec::{Decoded, decode};
    while !sent.is_empty() {
        let Ok(Decoded::Packet(_, used)) = decode(sent, Some(version), u32::MAX) else {
            panic!("{sent:02X?} is no packet");
        };
        sent = &sent[used..];
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn arbitrary_clients_are_survived(
        connects in any::<bool>(),
        is_v5 in any::<bool>(),
        packets in prop::collection::vec(parts(), 0..6),
        change in any::<Option<(prop::sample::Index, u8)>>(),
        chunk in 1..50_usize,
    ) {
        let version = if is_v5 { V5 } else { V311 };
        let mut bytes = Vec::new();
        if connects {
            connect(version).encode(&mut bytes);
        }
        for parts in &packets {
            parts.with_packet(|_, packet| packet.encode(packet_version(&packet, version), &mut bytes));
        }
        if let Some((index, byte)) = change && !bytes.is_empty() {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let settings = Settings { unacked_max: id(2), ..Settings::default() };
        let mut connection = Connection::opened(&settings);
        drive(&mut connection, &bytes, chunk);
        check_sent(connection.session.version(), &connection.sent());
    }

    #[test]
    fn bytes_that_are_no_packets_cost_nothing(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut connection = Connection::accepted(&connect(V5));
        connection.out.reserve(4096);
        let allocations = allocation_counter::measure(|| drive(&mut connection, &bytes, 1000));
        // Room for what waits for its ack, and for a topic behind an alias.
        assert!(allocations.bytes_max <= 2 * 1024, "{allocations:?}");
    }
}

/// A packet made for one version may not fit another: a failure in an acknowledgement of 3.1.1.
fn packet_version(packet: &Packet<'_>, version: Version) -> Version {
    match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack)
            if ack.reason.is_failure() =>
        {
            V5
        }
        _ => version,
    }
}

#[test]
fn an_idle_session_takes_less_than_a_kibibyte() {
    let mut session = None;
    let allocations = allocation_counter::measure(|| {
        let mut connection = Connection::accepted(&connect(V5));
        connection.out = Vec::new();
        session = Some(connection.session);
    });
    let bytes = u64::try_from(allocations.bytes_current).unwrap() + size_of::<Session>() as u64;
    assert!(bytes <= IDLE_BYTES_MAX, "{bytes}");
    assert!(session.is_some());
}

#[test]
fn a_ping_gives_back_what_a_burst_has_left() {
    let mut connection = Connection::accepted(&connect(V311));
    let bytes = encoded(V311, &Packet::Publish(at_least_once(1)));
    connection.out.reserve(16 * 1024);
    let allocations = allocation_counter::measure(|| {
        for offset in 0..1000 {
            assert_eq!(connection.handle(&bytes), Effect::Publish(at_least_once(1)));
            connection.session.handle_appended(Offset(offset), id(1));
        }
        connection.session.handle_durable(Offset(1000), 0, &mut connection.out);
        assert_eq!(connection.handle(b"\xC0\0"), Effect::None);
    });
    assert!(allocations.bytes_max >= 16_000);
    assert_eq!(allocations.bytes_current, 0);
}
