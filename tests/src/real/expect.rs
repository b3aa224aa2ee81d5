//! What a test expects to stand in Kafka, handed to `check.py`, which alone judges.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::kafka::Kafka;
use super::{cache, gateway, process, readers};

/// How many records each route's topic has.
pub type Delivered = BTreeMap<&'static str, u64>;

/// One test's expectation.
#[derive(Debug, Default)]
pub struct Expectation {
    sent: Vec<PathBuf>,
    routes: Vec<Value>,
    topics: Vec<&'static str>,
}

impl Expectation {
    /// A record of what devices sent.
    #[must_use]
    pub fn sent(mut self, file: PathBuf) -> Self {
        self.sent.push(file);
        self
    }

    /// A route of this name, into the topic of this name: which rounds it judges by which condition.
    #[must_use]
    pub fn route(mut self, name: &'static str, spans: &[(u32, u32, &str)]) -> Self {
        let spans: Vec<Value> = spans
            .iter()
            .map(|(first, last, condition)| json!({ "first": first, "last": last, "where": condition }))
            .collect();
        self.routes.push(json!({ "name": name, "topic": name, "spans": spans }));
        self.topics.push(name);
        self
    }

    /// A route whose condition changed at an offset that the test does not know; `witness` is a
    /// route that delivers everything.
    #[must_use]
    pub fn switched(mut self, name: &'static str, witness: &str, change: (&str, &str)) -> Self {
        let switch = json!({ "witness": witness, "before": change.0, "after": change.1 });
        self.routes.push(json!({ "name": name, "topic": name, "switch": switch }));
        self.topics.push(name);
        self
    }

    /// Reads the topics and compares; answers with the number of records in each.
    ///
    /// # Errors
    /// The checker's account, if anything is not as it must be.
    pub fn check(&self, kafka: &Kafka, dir: &Path) -> Result<Delivered> {
        let mut topics = Map::new();
        let mut delivered = Delivered::new();
        for topic in &self.topics {
            let files = readers::read(kafka, topic, dir)?;
            delivered.insert(topic, files.records()?);
            topics.insert((*topic).to_owned(), files.to_json());
        }
        let file = dir.join("expectation.json");
        let expectation = json!({
            "gateway": gateway::NAME, "sent": self.sent, "topics": topics, "routes": self.routes,
        });
        std::fs::write(&file, expectation.to_string())?;
        let mut check = cache::python("check.py");
        check.arg(&file);
        let account = process::output(check).context("the checker says no")?;
        println!("{account}");
        Ok(delivered)
    }
}
