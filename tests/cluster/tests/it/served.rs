//! The cluster behind sockets.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, ProduceResponse};
use kafka_protocol::protocol::{Decodable, Request};
use tributary_cluster::{BrokerId, Cluster, Served, Settings, TopicSettings};

use crate::support::{Stamp, TOPIC, batch, frame, produce_request, values};

fn served() -> Served {
    let mut cluster = Cluster::new(Settings { brokers: 2, ..Settings::default() });
    cluster.create_topic(TOPIC, TopicSettings::default()).expect("the cluster is new");
    Served::start(cluster).expect("there are ports")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream
}

/// The body of the answer, after a header of `header_bytes`.
fn call<R: Request>(
    stream: &mut TcpStream,
    (version, header_bytes): (i16, usize),
    request: &R,
) -> Bytes {
    stream.write_all(&frame(1, version, request)).expect("it is open");
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("an answer");
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("it fits")];
    stream.read_exact(&mut body).expect("an answer");
    let mut body = Bytes::from(body);
    body.advance(header_bytes);
    body
}

fn metadata(stream: &mut TcpStream) -> MetadataResponse {
    let mut body = call(stream, (12, 5), &MetadataRequest::default().with_topics(None));
    MetadataResponse::decode(&mut body, 12).expect("a response")
}

fn is_cut(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn clients_find_the_brokers_at_their_addresses() {
    let served = served();
    let mut stream = connect(served.addresses()[0]);
    let answer = metadata(&mut stream);
    let told: Vec<String> =
        answer.brokers.iter().map(|broker| format!("{}:{}", &*broker.host, broker.port)).collect();
    assert_eq!(told.join(","), served.bootstrap());

    let leader = served.with(|cluster| cluster.leader(TOPIC, 0)).expect("it has one");
    let index = usize::try_from(leader.0 - 1).expect("brokers count from 1");
    let mut stream = connect(served.addresses()[index]);
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let time_ms = i64::try_from(now.as_millis()).expect("it fits");
    let records = batch(Stamp { time_ms, ..Stamp::PLAIN }, &["a"]);
    let mut body = call(&mut stream, (9, 5), &produce_request(None, (TOPIC, 0), records));
    let answer = ProduceResponse::decode(&mut body, 9).expect("a response");
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    let cluster = served.stop();
    assert_eq!(values(&cluster.read_committed(TOPIC, 0)), ["a"]);
}

#[test]
fn it_goes_away_and_comes_back_at_the_same_address() {
    let served = served();
    let address = served.addresses()[0];
    for _ in 0..3 {
        let mut stream = connect(address);
        metadata(&mut stream);
        served.go_away();
        assert!(is_cut(&mut stream));
        let refused = TcpStream::connect(address).expect_err("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        served.come_back().expect("the port is still ours");
        metadata(&mut connect(address));
    }
}

#[test]
fn a_stopped_broker_cuts_its_clients_and_no_others() {
    let served = served();
    let mut streams = [0, 1].map(|index| connect(served.addresses()[index]));
    for stream in &mut streams {
        assert_eq!(metadata(stream).brokers.len(), 2);
    }
    served.with(|cluster| cluster.stop_broker(BrokerId(1)));
    assert!(is_cut(&mut streams[0]));
    assert_eq!(metadata(&mut streams[1]).brokers.len(), 1);
}

#[test]
fn dropping_it_closes_everything() {
    let served = served();
    let address = served.addresses()[0];
    let mut stream = connect(address);
    metadata(&mut stream);
    drop(served);
    assert!(is_cut(&mut stream));
    assert!(TcpStream::connect(address).is_err());
}
