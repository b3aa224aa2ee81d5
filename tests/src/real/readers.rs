//! Two readers of a topic that are not ours: Kafka's console consumer and librdkafka, both with
//! `read_committed`. Each writes what it saw to a file; `check.py` demands that they agree.

use core::time::Duration;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::kafka::Kafka;
use super::process;
use super::{cache, wait};

/// The value of a record behind all others: the console consumer is told how many to read, and that
/// this is the last of them shows that there are no more.
pub const END: &str = "end of the topic";
const READ_MAX: Duration = Duration::from_mins(2);

/// What each of the two saw.
#[derive(Debug)]
pub struct Files {
    librdkafka: PathBuf,
    console: PathBuf,
}

impl Files {
    /// As `check.py` wants them.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "librdkafka": self.librdkafka, "console": self.console, "end": END })
    }

    /// How many records there are.
    ///
    /// # Errors
    /// The file is gone.
    pub fn records(&self) -> Result<u64> {
        Ok(u64::try_from(std::fs::read_to_string(&self.librdkafka)?.lines().count())?)
    }

    /// The values, in Kafka's order.
    ///
    /// # Errors
    /// The file is gone or not as `consume.py` writes it.
    pub fn values(&self) -> Result<Vec<String>> {
        self.each(|record| record["value"].as_str().map(str::to_owned).context("a value"))
    }

    /// Where the gateway's log has them, in Kafka's order.
    ///
    /// # Errors
    /// The file is gone or not as `consume.py` writes it; a record without the header.
    pub fn offsets(&self) -> Result<Vec<u64>> {
        self.each(|record| {
            let headers = record["headers"].as_array().context("headers")?;
            let header = headers.iter().find(|header| header[0] == "tributary.offset");
            Ok(header.and_then(|header| header[1].as_str()).context("an offset")?.parse()?)
        })
    }

    fn each<T>(&self, part: impl Fn(&Value) -> Result<T>) -> Result<Vec<T>> {
        let text = std::fs::read_to_string(&self.librdkafka)?;
        text.lines().map(|line| part(&serde_json::from_str(line)?)).collect()
    }
}

/// Reads a topic with both.
///
/// # Errors
/// A reader fails, for example because the topic is not there.
pub fn read(kafka: &Kafka, topic: &str, dir: &Path) -> Result<Files> {
    let files = Files {
        librdkafka: dir.join(format!("{topic}.jsonl")),
        console: dir.join(format!("{topic}.console")),
    };
    with_librdkafka(kafka, topic, &files.librdkafka)?;
    with_console(kafka, topic, files.records()? + 1, &files.console)?;
    Ok(files)
}

fn with_librdkafka(kafka: &Kafka, topic: &str, out: &Path) -> Result<()> {
    let mut command = cache::python("consume.py");
    command.args(["--brokers", &kafka.address(), "--topic", topic, "--end", END, "--out"]);
    command.arg(out);
    process::output(command).map(drop)
}

fn with_console(kafka: &Kafka, topic: &str, records: u64, out: &Path) -> Result<()> {
    let mut command = kafka.java("org.apache.kafka.tools.consumer.ConsoleConsumer")?;
    command.args(["--bootstrap-server", &kafka.address(), "--topic", topic]);
    command.args(["--isolation-level", "read_committed", "--from-beginning"]);
    command.args(["--max-messages", &records.to_string()]);
    let properties = [
        "print.timestamp=false",
        "print.partition=true",
        "print.offset=true",
        "print.headers=true",
        "print.key=true",
        "key.separator=\u{1f}",
        "headers.separator=\u{1d}",
        "line.separator=\u{1e}\n",
    ];
    for property in properties {
        command.args(["--property", property]);
    }
    let errors = File::create(out.with_extension("console.log"))?;
    let mut child = command.stdout(File::create(out)?).stderr(errors).spawn()?;
    let ended = wait::until("the console consumer", READ_MAX, || Ok(child.try_wait()?));
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    let status = ended?;
    ensure!(status.success(), "the console consumer ended with {status}");
    Ok(())
}
