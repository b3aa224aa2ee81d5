//! Bytes from anyone: nothing panics, nothing reserves memory that was not sent.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, RequestHeader};
use kafka_protocol::protocol::encode_request_header_into_buffer;
use proptest::collection::vec;
use proptest::prelude::*;
use tributary_cluster::{Kafka, Settings, TransactionVersion};

use crate::support::{
    B1, ID, Lost, POSITIONS, Session, Speaks, Stamp, TOPIC, World, batch, every_api, frame,
    init_request, produce_request, text,
};

fn world(kafka: Kafka) -> World {
    World::new(Settings { kafka, log_bytes_max: 1 << 20, ..Settings::default() })
}

fn any_kafka() -> impl Strategy<Value = Kafka> {
    prop_oneof![
        Just(Kafka::V3_9_2),
        Just(Kafka::V4_1_2(TransactionVersion::V1)),
        Just(Kafka::V4_1_2(TransactionVersion::V2)),
    ]
}

/// A frame with a sound header for some request, and any body.
fn headed(api: i16, version: i16, body: &[u8]) -> BytesMut {
    let header =
        RequestHeader::default().with_request_api_key(api).with_request_api_version(version);
    let mut content = BytesMut::new();
    encode_request_header_into_buffer(&mut content, &header).expect("a header");
    content.put_slice(body);
    let mut frame = BytesMut::new();
    frame.put_i32(i32::try_from(content.len()).expect("small"));
    frame.put_slice(&content);
    frame
}

/// Sound requests of a session, to be garbled.
fn sound_frames(world: &mut World) -> Vec<BytesMut> {
    let session = Session::open(world, ID, Speaks::V2);
    let records = batch(session.stamp(0), &["a", "b"]);
    vec![
        frame(1, 12, &produce_request(Some(ID), (TOPIC, 0), records)),
        frame(1, 9, &produce_request(None, (TOPIC, 0), batch(Stamp::PLAIN, &["c"]))),
        frame(1, 5, &session.commit_request((POSITIONS, 0), 3)),
        frame(1, 4, &init_request(ID, 1000)),
        frame(1, 12, &MetadataRequest::default().with_topics(None)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_do_no_harm(kafka in any_kafka(), bytes in vec(any::<u8>(), 0..200)) {
        let mut world = world(kafka);
        world.send_bytes(B1, &bytes);
        world.wait_ms(60_000);
        prop_assert!(world.still_answers());
    }

    #[test]
    fn any_body_does_no_harm(
        kafka in any_kafka(),
        api in 0..15_usize,
        version in 0..13_i16,
        body in vec(prop_oneof![any::<u8>(), Just(0), Just(1), Just(2), Just(255)], 0..200),
    ) {
        let mut world = world(kafka);
        world.send_bytes(B1, &headed(every_api()[api] as i16, version, &body));
        world.wait_ms(60_000);
        prop_assert!(world.still_answers());
    }

    #[test]
    fn garbled_requests_do_no_harm(
        kafka in any_kafka(),
        which in 0..5_usize,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cuts in vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let mut world = world(kafka);
        let mut bytes = sound_frames(&mut world).swap_remove(which).split_off(4).to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let mut sent = u32::try_from(bytes.len()).expect("small").to_be_bytes().to_vec();
        sent.extend_from_slice(&bytes);
        // Arrives in pieces, as bytes do.
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(sent.len())).collect();
        at.sort_unstable();
        let mut from = 0;
        for to in at.into_iter().chain([sent.len()]) {
            world.send_bytes(B1, &sent[from..to]);
            from = to;
        }
        world.wait_ms(60_000);
        prop_assert!(world.still_answers());
    }
}

/// Each of these asks the codec for gigabytes.
#[test]
fn a_claimed_length_is_not_believed() {
    let huge = [0x7f, 0xff, 0xff, 0xff];
    let compact = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let cases: [(i16, i16, Vec<u8>); 5] = [
        (3, 1, huge.to_vec()),
        (3, 12, compact.to_vec()),
        (0, 3, [&[255, 255, 255, 255, 0, 0, 0, 0][..], &huge].concat()),
        (10, 4, [&[0][..], &compact].concat()),
        (22, 4, compact.to_vec()),
    ];
    for (api, version, body) in cases {
        let mut world = world(Kafka::V3_9_2);
        world.send_bytes(B1, &headed(api, version, &body));
        assert_eq!(world.take_bytes(B1), Err(Lost::Closed), "API {api}");
    }
}

#[test]
fn a_request_has_so_many_elements_and_no_more() {
    for (count, answered) in [(100_000, true), (100_001, false)] {
        let mut world = world(Kafka::V3_9_2);
        let topic = MetadataRequestTopic::default().with_name(Some(text("x").into()));
        let request = MetadataRequest::default().with_topics(Some(vec![topic; count]));
        assert_eq!(world.try_call(B1, 12, &request).is_ok(), answered);
    }
}

#[test]
fn a_frame_beyond_the_limit_closes_the_connection_at_once() {
    let mut world = world(Kafka::V3_9_2);
    let limit = u32::try_from(tributary_cluster::limits::REQUEST_BYTES_MAX).expect("it fits");
    world.send_bytes(B1, &limit.to_be_bytes());
    assert_eq!(world.take_bytes(B1), Err(Lost::Silent), "the rest may come");
    world.disconnect(B1);
    world.send_bytes(B1, &(limit + 1).to_be_bytes());
    assert_eq!(world.take_bytes(B1), Err(Lost::Closed));
    world.send_bytes(B1, &u32::MAX.to_be_bytes());
    assert_eq!(world.take_bytes(B1), Err(Lost::Closed));
}
