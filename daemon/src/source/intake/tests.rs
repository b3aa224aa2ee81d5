//! When messages become events, and when they are acknowledged.

use super::*;
use crate::config::Config;

fn intake(lines: &str) -> Intake {
    let source = format!("[[source]]\nurl = \"mqtt://broker\"\ntopics = [\"plant/#\"]\n{lines}");
    Intake::new(&Config::parse(&source).expect("valid").sources[0])
}

fn message(id: u16, payload: &str) -> Message {
    Message {
        topic: "plant/1".to_owned(),
        payload: payload.into(),
        packet_id: NonZeroU16::new(id),
        ..Message::default()
    }
}

fn again(id: u16, payload: &str) -> Message {
    Message { again: true, ..message(id, payload) }
}

/// A log that takes everything.
#[derive(Default)]
struct Log(Vec<(String, String)>);

impl Log {
    fn take(&mut self, intake: &mut Intake) {
        let took = intake.take(Timestamp(0), |event| {
            assert_eq!(event.origin, Origin::Source);
            let payload = String::from_utf8(event.payload.to_vec()).expect("text");
            self.0.push((event.topic.to_owned(), payload));
            Ok(Offset(self.0.len() as u64 - 1))
        });
        assert_eq!(took, None);
    }
}

fn acks(intake: &mut Intake, durable: u64) -> Vec<u16> {
    core::iter::from_fn(|| intake.poll_ack(Offset(durable))).map(NonZeroU16::get).collect()
}

#[test]
fn an_ack_waits_for_its_event_and_for_those_before_it() {
    let (mut intake, mut log) = (intake("prefix = \"cell-3/\""), Log::default());
    for (id, payload) in [(7, "a"), (8, "b"), (3, "c")] {
        intake.handle_message(message(id, payload));
    }
    intake.handle_message(message(0, "not acknowledged"));
    log.take(&mut intake);
    assert_eq!(log.0[0], ("cell-3/plant/1".to_owned(), "a".to_owned()));
    assert_eq!(log.0.len(), 4);
    assert_eq!(acks(&mut intake, 0), [0; 0]);
    assert_eq!(acks(&mut intake, 2), [7, 8]);
    assert!(!intake.is_acknowledged());
    assert_eq!(acks(&mut intake, 4), [3]);
    assert!(intake.is_acknowledged());
}

#[test]
fn what_is_sent_again_is_taken_once_while_we_remember() {
    let (mut intake, mut log) = (intake(""), Log::default());
    intake.handle_connected(false);
    intake.handle_message(message(7, "a"));
    intake.handle_message(message(8, "b"));
    log.take(&mut intake);
    // Lost before anything was acknowledged; the broker sends all of it again, and something new.
    intake.handle_connected(true);
    for message in [again(7, "a"), again(8, "b"), again(9, "c")] {
        intake.handle_message(message);
    }
    log.take(&mut intake);
    assert_eq!(log.0.len(), 3);
    let Figures { received, duplicates, repeated, .. } = *intake.figures();
    assert_eq!((received, duplicates, repeated), (3, 2, 1));
    // Each waits for its own event, which is where it was.
    assert_eq!(acks(&mut intake, 1), [7]);
    assert_eq!(acks(&mut intake, 3), [8, 9]);
    // Another message under the same identifier is another message.
    intake.handle_connected(true);
    intake.handle_message(again(7, "z"));
    log.take(&mut intake);
    assert_eq!(log.0.len(), 4);
    // A broker that has lost the session counts anew.
    intake.handle_connected(false);
    intake.handle_message(again(7, "z"));
    log.take(&mut intake);
    assert_eq!(log.0.len(), 5);
}

#[test]
fn what_the_log_does_not_take_waits_in_order_and_is_bounded() {
    let mut intake = intake("");
    let mut read = 0;
    while intake.wants_message() {
        read += 1;
        intake.handle_message(message(read, "a"));
        assert_eq!(intake.take(Timestamp(0), |_| Err(NotTaken::Busy)), Some(NotTaken::Busy));
        assert_eq!(intake.poll_ack(Offset(u64::MAX)), None);
    }
    assert_eq!(usize::from(read), HELD_MAX);
    Log::default().take(&mut intake);
    assert_eq!(acks(&mut intake, u64::MAX), (1..=read).collect::<Vec<_>>());
    for id in 1..=UNACKED_MAX {
        assert!(intake.wants_message());
        intake.handle_message(message(id, "a"));
        Log::default().take(&mut intake);
    }
    assert!(!intake.wants_message());
}

#[test]
fn what_can_be_no_event_is_acknowledged_in_its_place_and_counted() {
    let (mut intake, mut log) = (intake(""), Log::default());
    let elsewhere = Message { topic: "office/1".to_owned(), ..message(2, "b") };
    let hostile = Message { topic: "plant/\0".to_owned(), ..message(3, "c") };
    let large = Message { payload: vec![0; PAYLOAD_BYTES_MAX + 1], ..message(4, "") };
    for message in [message(1, "a"), elsewhere, hostile, large, message(5, "e")] {
        intake.handle_message(message);
    }
    log.take(&mut intake);
    assert_eq!(log.0.len(), 2);
    assert_eq!(acks(&mut intake, 0), [0; 0]);
    assert_eq!(acks(&mut intake, 1), [1, 2, 3, 4]);
    assert_eq!(acks(&mut intake, 2), [5]);
    assert_eq!((intake.figures().received, intake.figures().refused), (2, 3));
    assert!(intake.figures().refusal.as_ref().is_some_and(|why| why.contains("262145 bytes")));
}
