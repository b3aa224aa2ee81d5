//! How routing tables stand in the log. A table has the oldest format that can hold it: so a log
//! stays readable by the versions that could have written it.

use serde::{Deserialize, Serialize};

use super::table::{Entry, Retired, Rule, Table, Unreadable};
use crate::config::{Events, Lane, Shape};

/// The first byte of the record: of the first versions, with one lane, `normal`.
const FIRST: u8 = 1;
/// With lanes.
const LANED: u8 = 2;
/// The same, and behind it the shapes of the routes' records, in their order.
const SHAPED: u8 = 3;
/// And behind them the topics that are other lanes'.
const DIVERTED: u8 = 4;
/// And behind them how many topics each route makes: one may name levels of MQTT topics.
const TEMPLATED: u8 = 5;
/// And behind that whose events each route selects from.
const ADDRESSED: u8 = 6;

/// Reads the body of a control record.
pub(super) fn decode(body: &[u8]) -> Result<Table, Unreadable> {
    let Some((format, rest)) = body.split_first() else { return Err(Unreadable) };
    let read = match *format {
        FIRST => postcard::from_bytes(body).map(table_of),
        LANED => postcard::from_bytes(rest),
        SHAPED | DIVERTED | TEMPLATED | ADDRESSED => return decode_shaped(rest, *format),
        _ => return Err(Unreadable),
    };
    read.map_err(|_| Unreadable)
}

fn decode_shaped(bytes: &[u8], format: u8) -> Result<Table, Unreadable> {
    let ((mut table, shapes), mut rest): ((Table, Vec<Shape>), &[u8]) =
        postcard::take_from_bytes(bytes).map_err(|_| Unreadable)?;
    if format >= DIVERTED {
        (table.asides, rest) = postcard::take_from_bytes(rest).map_err(|_| Unreadable)?;
    }
    let (mut topics, mut events) = (vec![0; shapes.len()], vec![Events::default(); shapes.len()]);
    if format >= TEMPLATED {
        (topics, rest) = postcard::take_from_bytes(rest).map_err(|_| Unreadable)?;
    }
    if format >= ADDRESSED {
        events = postcard::from_bytes(rest).map_err(|_| Unreadable)?;
    }
    if [shapes.len(), topics.len(), events.len()] != [table.routes.len(); 3] {
        return Err(Unreadable);
    }
    let more = shapes.into_iter().zip(topics).zip(events);
    for (entry, ((shape, topics_max), events)) in table.routes.iter_mut().zip(more) {
        entry.rule = Rule { shape, topics_max, events, ..entry.rule.clone() };
    }
    Ok(table)
}

/// The body of a control record.
pub(super) fn encode(table: &Table) -> Vec<u8> {
    let rules = || table.routes.iter().map(|entry| &entry.rule);
    let format = if rules().any(|rule| rule.events != Events::default()) {
        ADDRESSED
    } else if rules().any(|rule| rule.topics_max > 0) {
        TEMPLATED
    } else if !table.asides.is_empty() {
        DIVERTED
    } else if rules().any(|rule| rule.shape != Shape::default()) {
        SHAPED
    } else if let Some(first) = first(table) {
        return bytes(&first);
    } else {
        LANED
    };
    let mut body = vec![format];
    body.extend(bytes(table));
    if format >= SHAPED {
        body.extend(bytes(&rules().map(|rule| rule.shape).collect::<Vec<_>>()));
    }
    if format >= DIVERTED {
        body.extend(bytes(&table.asides));
    }
    if format >= TEMPLATED {
        body.extend(bytes(&rules().map(|rule| rule.topics_max).collect::<Vec<_>>()));
    }
    if format >= ADDRESSED {
        body.extend(bytes(&rules().map(|rule| rule.events).collect::<Vec<_>>()));
    }
    body
}

fn bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap_or_else(|_| unreachable!("a table always encodes"))
}

#[derive(Serialize, Deserialize)]
struct First {
    format: u8,
    lane_since: Option<u64>,
    next_id: u32,
    routes: Vec<FirstEntry>,
    retired: Vec<(String, u64)>,
    programs: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct FirstEntry {
    id: u32,
    begin: u64,
    since: u64,
    rule: FirstRule,
}

#[derive(Serialize, Deserialize)]
struct FirstRule {
    name: String,
    from: Option<String>,
    condition: Option<String>,
    topic: String,
    key: Option<String>,
    partition_by_key: bool,
}

fn table_of(first: First) -> Table {
    let mut table = Table::none();
    table.begun[Lane::Normal.index()] = first.lane_since.is_some();
    Table {
        lane_since: first.lane_since,
        next_id: first.next_id,
        routes: first.routes.into_iter().map(entry).collect(),
        retired: first.retired.into_iter().map(retired).collect(),
        programs: first.programs,
        ..table
    }
}

/// The table in the first format, if that can hold it.
fn first(table: &Table) -> Option<First> {
    let plain = |entry: &Entry| entry.moved.is_none() && entry.rule.lane == Lane::Normal;
    let normal = table.lane_since.is_some();
    let holds = table.begun == [false, normal, false]
        && table.emptied.iter().all(Option::is_none)
        && table.routes.iter().all(plain)
        && table.retired.iter().all(|retired| retired.lane == Lane::Normal);
    let retired = |retired: &Retired| (retired.name.clone(), retired.until);
    holds.then(|| First {
        format: FIRST,
        lane_since: table.lane_since,
        next_id: table.next_id,
        routes: table.routes.iter().map(first_entry).collect(),
        retired: table.retired.iter().map(retired).collect(),
        programs: table.programs.clone(),
    })
}

fn first_entry(entry: &Entry) -> FirstEntry {
    let Entry { id, begin, since, rule, .. } = entry;
    let Rule { name, from, condition, topic, key, partition_by_key, .. } = rule.clone();
    let rule = FirstRule { name, from, condition, topic, key, partition_by_key };
    FirstEntry { id: *id, begin: *begin, since: *since, rule }
}

fn retired((name, until): (String, u64)) -> Retired {
    Retired { name, until, lane: Lane::Normal }
}

fn entry(first: FirstEntry) -> Entry {
    let FirstRule { name, from, condition, topic, key, partition_by_key } = first.rule;
    let lane = Lane::Normal;
    let shape = Shape::default();
    let (topics_max, events) = (0, Events::default());
    let rule = Rule {
        name,
        from,
        condition,
        topic,
        key,
        partition_by_key,
        lane,
        shape,
        topics_max,
        events,
    };
    Entry { id: first.id, begin: first.begin, since: first.since, moved: None, rule }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Format;

    #[test]
    fn a_table_of_the_first_versions_is_read() {
        let bytes: &[u8] = &[
            1, 1, 5, 2, 1, 1, 3, 5, 3, b'h', b'o', b't', 1, 1, b'#', 0, 1, b't', 0, 1, 1, 1, b'x',
            9, 1, 7,
        ];
        let table = Table::decode(bytes).expect("it is whole");
        assert_eq!(
            (table.lane_since, table.next_id, table.programs.as_slice()),
            (Some(5), 2, &[7][..])
        );
        let entry = &table.routes[0];
        assert_eq!((entry.id, entry.begin, entry.since, entry.moved), (1, 3, 5, None));
        assert_eq!((entry.rule.name.as_str(), entry.rule.topic.as_str()), ("hot", "t"));
        assert!(entry.rule.partition_by_key && entry.rule.lane == Lane::Normal);
        assert_eq!(table.begun, [false, true, false]);
        assert_eq!(table.encode(), bytes);
        let mut laned = table.clone();
        laned.routes[0].rule.lane = Lane::Bulk;
        assert_eq!(laned.encode()[0], 2);
        assert_eq!(Table::decode(&laned.encode()).expect("just written"), laned);
    }

    #[test]
    fn how_many_topics_a_route_makes_survives_the_log() {
        let bytes: &[u8] = &[1, 1, 5, 2, 1, 1, 3, 5, 1, b'a', 0, 0, 1, b't', 0, 0, 0, 1, 7];
        let mut table = Table::decode(bytes).expect("it is whole");
        table.routes[0].rule.topics_max = 300;
        let body = table.encode();
        assert_eq!(body[0], TEMPLATED);
        assert_eq!(Table::decode(&body).expect("just written"), table);
        for cut in 0..body.len() {
            assert!(Table::decode(&body[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn whose_events_a_route_takes_survives_the_log() {
        let bytes: &[u8] = &[1, 1, 5, 2, 1, 1, 3, 5, 1, b'a', 0, 0, 1, b't', 0, 0, 0, 1, 7];
        let mut table = Table::decode(bytes).expect("it is whole");
        for events in [Events::Commands, Events::All] {
            table.routes[0].rule.events = events;
            let body = table.encode();
            assert_eq!(body[0], ADDRESSED);
            assert_eq!(Table::decode(&body).expect("just written"), table);
            for cut in 0..body.len() {
                assert!(Table::decode(&body[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn shapes_of_records_survive_the_log() {
        let bytes: &[u8] = &[1, 1, 5, 2, 1, 1, 3, 5, 1, b'a', 0, 0, 1, b't', 0, 0, 0, 1, 7];
        let mut table = Table::decode(bytes).expect("it is whole");
        table.routes[0].rule.shape.format = Format::Json;
        let body = table.encode();
        assert_eq!(body[0], SHAPED);
        assert_eq!(Table::decode(&body).expect("just written"), table);
        for cut in 0..body.len() {
            assert!(Table::decode(&body[..cut]).is_err(), "cut at {cut}");
        }
    }
}
