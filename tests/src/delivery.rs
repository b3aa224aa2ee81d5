//! What must stand in Kafka: the events of the log that a route selects, and nothing else.

use core::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tributary_cluster::{Cluster, ReadRecord, Served};

use crate::daemon::GATEWAY;
use crate::wait;

/// A coordinator writes them within this time.
const MARKERS_MAX: Duration = Duration::from_secs(20);

/// An event as `tributary tail` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the log.
    pub offset: u64,
    /// MQTT topic.
    pub topic: String,
    /// Payload.
    pub payload: String,
}

/// A record as a reader of Kafka saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Key.
    pub key: Option<String>,
    /// Value.
    pub value: String,
    /// Headers, in order.
    pub headers: Vec<(String, String)>,
}

impl Event {
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let event: Value = serde_json::from_str(line)?;
        let text = |name: &str| event[name].as_str().map(str::to_owned);
        Ok(Self {
            offset: event["offset"].as_u64().with_context(|| line.to_owned())?,
            topic: text("topic").with_context(|| line.to_owned())?,
            payload: text("payload").with_context(|| line.to_owned())?,
        })
    }
}

impl Record {
    /// The offset that a header names.
    ///
    /// # Errors
    /// None does.
    pub fn offset(&self) -> Result<u64> {
        Ok(self.header("tributary.offset").context("a record names its offset")?.parse()?)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// What a `read_committed` consumer finds in the topic's first partition.
///
/// # Errors
/// The last transaction gets no markers, or a record is not text.
pub fn committed(served: &Served, topic: &str) -> Result<Vec<Record>> {
    // The markers of a transaction follow its end.
    wait::until("the last markers", MARKERS_MAX, || {
        let stable =
            |cluster: &mut Cluster| cluster.stable_offset(topic, 0) == cluster.end_offset(topic, 0);
        Ok(served.with(stable).then_some(()))
    })?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
    let record = |record: ReadRecord| {
        let headers = record.headers.iter().map(|(name, value)| {
            Ok((text(name)?, text(value.as_deref().context("a header has a value")?)?))
        });
        Ok(Record {
            key: record.key.as_deref().map(text).transpose()?,
            value: text(&record.value.context("a record has a value")?)?,
            headers: headers.collect::<Result<_>>()?,
        })
    };
    served.with(|cluster| cluster.read_committed(topic, 0)).into_iter().map(record).collect()
}

/// `records` are exactly the selected events, each once, in the log's order, with key and headers.
///
/// # Errors
/// The first that is not as it must be.
pub fn check(
    route: &str,
    records: &[Record],
    events: &[Event],
    selects: impl Fn(&Event) -> bool,
) -> Result<()> {
    let mut records = records.iter();
    for event in events.iter().filter(|event| selects(event)) {
        let record = records.next().with_context(|| format!("{route}: missing: {event:?}"))?;
        let time = record.header("time").with_context(|| format!("no time: {record:?}"))?;
        let headers = [
            ("tributary.gateway", GATEWAY.to_owned()),
            ("tributary.offset", event.offset.to_string()),
            ("tributary.route", route.to_owned()),
            ("mqtt.topic", event.topic.clone()),
            ("time", time.to_owned()),
        ];
        let wanted = Record {
            key: Some(event.topic.clone()),
            value: event.payload.clone(),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        };
        let mut found = record.clone();
        // Marks where a transaction begins, which is free.
        found.headers.retain(|(name, _)| name != "tributary.batch");
        ensure!(found == wanted, "{route}:\n{found:?} instead of\n{wanted:?}");
    }
    ensure!(records.len() == 0, "{route}: more than there should be: {:?}", records.next());
    Ok(())
}
