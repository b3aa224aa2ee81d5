//! How the scripted broker answers a Produce.

use core::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::answers::{read, records};

const WHY: &str = "an answer of this version";

pub(super) fn produce(
    (bytes, version): (&mut Bytes, i16),
    (code, leader): (i16, Option<u16>),
    blamed: &[i32],
    out: &mut BytesMut,
) -> String {
    use produce_response::*;
    let blame = |place: &i32| {
        let words = StrBytes::from_static_str("no key");
        let error = BatchIndexAndErrorMessage::default().with_batch_index(*place);
        error.with_batch_index_error_message(Some(words))
    };
    let errors: Vec<_> = blamed.iter().map(blame).collect();
    let request = read::<ProduceRequest>(bytes, version);
    assert_eq!(request.acks, -1);
    let mut note = String::new();
    let mut topics = Vec::new();
    for topic in request.topic_data {
        let mut partitions = Vec::new();
        for data in topic.partition_data {
            let records = records(data.records.expect("records"));
            let first = &records[0];
            write!(
                note,
                " {}-{} epoch {} seq {} x{}",
                topic.name.0,
                data.index,
                first.producer_epoch,
                first.sequence,
                records.len()
            )
            .expect("a string");
            let mut answer = PartitionProduceResponse::default()
                .with_index(data.index)
                .with_error_code(code)
                .with_record_errors(errors.clone());
            if let Some(port) = leader {
                answer.current_leader.leader_id = BrokerId(port.into());
            }
            partitions.push(answer);
        }
        topics.push(
            TopicProduceResponse::default()
                .with_name(topic.name)
                .with_partition_responses(partitions),
        );
    }
    let endpoint = |port: u16| {
        let known = NodeEndpoint::default().with_node_id(BrokerId(port.into()));
        known.with_host(StrBytes::from_static_str("kafka")).with_port(port.into())
    };
    let nodes = leader.map(endpoint).into_iter().collect();
    let answer = ProduceResponse::default().with_responses(topics).with_node_endpoints(nodes);
    answer.encode(out, version).expect(WHY);
    note
}
