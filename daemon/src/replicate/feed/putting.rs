//! The records that the routes make of an event go into the batch: all of them, but for those that no batch
//! may hold. These become dead letters, as what Kafka refuses does.

use tributary_bridge::{BatchBuilder, PushError, Record};
use tributary_core::Offset;
use tributary_core::record::Event;
use tributary_core::time::Timestamp;

use super::{Filled, Fold, Step};
use crate::config::Format;
use crate::replicate::judge::Selected;
use crate::replicate::mapping::{Origin, tells};

/// A record has so many headers, or more.
const HEADERS_USUAL: usize = 8;

impl Fold {
    /// Puts the records of the event that was judged last into the batch, and counts them; or none, where
    /// there is no room for all.
    pub(super) fn put(
        &mut self,
        origin: &Origin,
        (offset, stamp, event): (Offset, Timestamp, &Event<'_>),
        batch: &mut BatchBuilder,
    ) -> Step {
        let Some(judge) = &self.judge else { return Step::On };
        if judge.selected().any(|selected| tells(selected.entry.rule.shape)) {
            self.texts.write();
        }
        if judge.selected().any(|selected| selected.entry.rule.shape.format == Format::Json) {
            self.texts.envelop(origin, event);
        }
        let key = judge.selected().filter_map(|selected| selected.key).map(<[u8]>::len).max();
        let bytes = self.texts.record_bytes_max(origin, event) + key.unwrap_or(0);
        if batch.reserve(judge.selected().map(|selected| selected.topic), bytes).is_err() {
            return Step::Stop(Filled::HandIn);
        }
        for Selected { entry, key, topic, .. } in judge.selected() {
            let most = if tells(entry.rule.shape) { HEADERS_USUAL } else { 0 };
            let mut headers = Vec::with_capacity(most);
            self.texts.headers(origin, &entry.rule, event, &mut headers);
            let record = Record {
                topic,
                partition: entry.partitioner(),
                offset,
                route: entry.id,
                timestamp: stamp,
                key,
                value: self.texts.value(&entry.rule, event),
                headers: &headers,
            };
            match batch.push(&record) {
                Ok(()) => {}
                Err(PushError::TooLarge) => batch.leave_out(&record),
                Err(PushError::Full | PushError::UnknownTopic) => {
                    unreachable!("a place was reserved")
                }
            }
        }
        for Selected { entry, topic, is_made, .. } in judge.selected() {
            self.account.of(entry.id).delivered += 1;
            if is_made {
                self.account.note_topic(entry, topic);
            }
        }
        for entry in judge.undecided() {
            self.account.of(entry.id).undecided += 1;
        }
        let passed = self.pass(offset.plus(1));
        // Their letters are made at once, and large: those of one event at a time.
        if batch.left_out().is_empty() { passed } else { Step::Stop(Filled::HandIn) }
    }
}

#[cfg(test)]
mod tests {
    use tributary_bridge::Settings;
    use tributary_core::properties::Properties;
    use tributary_core::record::{Origin as Whence, Qos};

    use super::super::gone::tests::{fold, present};
    use super::*;
    use crate::config::{Header, Headers, Lane, Route, Shape};
    use crate::properties::user;
    use crate::replicate::judge::Judge;
    use crate::replicate::mapping::EventTime;
    use crate::replicate::table::{Table, Wanted};

    /// The longest packet: what an event may have of topic, properties and payload together.
    const PACKET_BYTES: usize = 256 << 10;
    const TOPIC_BYTES: usize = 65_535;
    /// Each grows to six in JSON.
    const CONTROL: &str = "\u{1}";

    fn routes(shapes: &[(&str, Shape)]) -> Table {
        let route = |&(topic, shape): &(&str, Shape)| Route { shape, ..Route::everything(topic) };
        let routes: Vec<Route> = shapes.iter().map(route).collect();
        let wanted = Wanted::compile(&routes, true).expect("they compile");
        Table::none().succeed(&wanted, Offset(0), Offset(0))
    }

    /// What is left out of the batch of an event with so many bytes of user properties, and how many records
    /// it has; it goes at once where any is.
    fn left_out(shapes: &[(&str, Shape)], property_bytes: usize) -> (Vec<u32>, usize) {
        let mut fold = fold(Lane::Normal, "", 0);
        fold.judge = Judge::new(routes(shapes)).ok();
        let mut properties = Vec::new();
        user(&mut properties, "", &CONTROL.repeat(property_bytes));
        let payload = vec![0xFF; PACKET_BYTES - TOPIC_BYTES - properties.len()];
        let event = Event {
            topic: &CONTROL.repeat(TOPIC_BYTES),
            payload: &payload,
            client: "c",
            time: Timestamp(0),
            qos: Qos::AtLeastOnce,
            retain: false,
            origin: Whence::Device,
            packet_id: None,
            properties: Properties(&properties),
        };
        let names: Vec<&str> = shapes.iter().map(|(name, _)| *name).collect();
        let settings = Settings::new("gw", 7, vec![("kafka".to_owned(), 9092)]);
        let mut batch = BatchBuilder::of_topics(&settings, &names);
        let origin = Origin::new("gw", 7, None);
        fold.texts.set(Offset(0), EventTime::default());
        let due = (Offset(0), Timestamp(0), &event);
        let step = fold.take(&origin, due, None, (&present(), &mut batch));
        let routes: Vec<u32> = batch.left_out().iter().map(|one| one.route).collect();
        let is_handed_in = matches!(step, Step::Stop(Filled::HandIn));
        assert_eq!((is_handed_in, fold.at), (!routes.is_empty(), Offset(1)));
        let delivered: u64 = (1..=2).map(|id| fold.account.counts(id).delivered).sum();
        assert_eq!(delivered, shapes.len() as u64);
        (routes, batch.len())
    }

    #[test]
    fn what_no_batch_may_hold_is_left_out_and_the_lane_goes_on() {
        let json =
            |headers: &[Header]| Shape { format: Format::Json, headers: Headers::of(headers) };
        // Larger than it was thought to be; and so large that nobody looked.
        for property_bytes in [24_300, 25_500, 65_500] {
            let routes = [("json", json(&[Header::Topic])), ("raw", Shape::default())];
            assert_eq!(left_out(&routes, property_bytes), (vec![1], 2), "{property_bytes}");
        }
        assert_eq!(left_out(&[("json", json(&[]))], 65_500), (vec![1], 1));
        assert_eq!(left_out(&[("json", json(&[]))], 0), (vec![], 1));
    }
}
