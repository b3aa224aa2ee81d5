//! The readings of the package `vega_datasets` as what each device publishes. The Python scripts
//! read them by code of their own; the bytes must be the same.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use super::{cache, process};

const CITIES: [&str; 2] = ["seattle", "sf"];
const DEVICES_PER_CITY: usize = 4;

/// One line of a city's file.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Its place in the file.
    pub seq: u32,
    date: String,
    temp: String,
}

/// A device and what it measures, in order.
#[derive(Clone, Debug)]
pub struct Device {
    /// For example `sf-2`.
    pub name: String,
    /// Its readings.
    pub readings: Arc<[Reading]>,
}

impl Device {
    /// The MQTT topic that it publishes to.
    #[must_use]
    pub fn topic(&self) -> String {
        format!("weather/{}/reading", self.name)
    }

    /// What it sends for a reading in a numbered round.
    #[must_use]
    pub fn payload(&self, round: u32, reading: &Reading) -> String {
        let Reading { seq, date, temp } = reading;
        let name = &self.name;
        format!(
            r#"{{"device":"{name}","round":{round},"seq":{seq},"date":"{date}","temp":{temp}}}"#
        )
    }
}

/// All devices.
///
/// # Errors
/// The package is not in the cache, or its files are not as they were.
pub fn devices() -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    for city in CITIES {
        let mut own = vec![Vec::new(); DEVICES_PER_CITY];
        for reading in rows(city)? {
            own[reading.seq as usize % DEVICES_PER_CITY].push(reading);
        }
        devices.extend(own.into_iter().enumerate().map(|(number, readings)| Device {
            name: format!("{city}-{number}"),
            readings: readings.into(),
        }));
    }
    Ok(devices)
}

fn rows(city: &str) -> Result<Vec<Reading>> {
    let path = folder()?.join(format!("{city}-temps.csv"));
    let mut file = csv::Reader::from_path(&path).with_context(|| path.display().to_string())?;
    let headers = file.headers()?.clone();
    let column = |name: &str| headers.iter().position(|header| header == name).context("a column");
    let (date, temp) = (column("date")?, column("temp")?);
    let mut rows = Vec::new();
    for (seq, row) in file.records().enumerate() {
        let row = row?;
        rows.push(Reading {
            seq: u32::try_from(seq)?,
            date: row[date].to_owned(),
            temp: row[temp].to_owned(),
        });
    }
    ensure!(rows.len() > 8_000, "{} has only {} readings", path.display(), rows.len());
    Ok(rows)
}

fn folder() -> Result<PathBuf> {
    Ok(PathBuf::from(process::output(cache::python("where.py"))?.trim()))
}
