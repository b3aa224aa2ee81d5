//! What was measured, and the bars that it is held against.

/// One broker under one load.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The load.
    pub load: String,
    /// Who bore it.
    pub broker: &'static str,
    /// Acknowledged events per second.
    pub per_second: f64,
    /// Time to PUBACK, median.
    pub p50_us: f64,
    /// Time to PUBACK of the slowest hundredth.
    pub p99_us: f64,
    /// The broker's CPU time per event.
    pub cpu_us: f64,
    /// The broker's largest resident memory.
    pub rss_bytes: f64,
    /// Records committed to Kafka per second.
    pub out_per_second: Option<f64>,
    /// Age of the oldest undelivered event when the load ended.
    pub backlog_ms: Option<f64>,
    /// Whether `per_second` counts devices that were let in.
    pub is_connections: bool,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Where and when.
    pub machine: String,
    /// One write of 4 KiB and its `fdatasync`, median.
    pub sync_p50_us: f64,
    /// The same of the slowest hundredth.
    pub sync_p99_us: f64,
    /// In the order of measuring.
    pub rows: Vec<Row>,
}

/// A bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Of what.
    pub what: &'static str,
    /// In words.
    pub asked: &'static str,
    /// In words.
    pub measured: String,
    met: bool,
}

impl Bar {
    /// Whether it is reached.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.met
    }
}

impl Row {
    /// A line of the table.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { load, broker, per_second, cpu_us, rss_bytes, .. } = self;
        let rss = rss_bytes / 1e6;
        if *per_second == 0.0 {
            return format!("| {load} | {broker} | | | | | {rss:.1} MB |\n");
        }
        let what = if self.is_connections { " let in" } else { "" };
        let out = match (self.out_per_second, self.backlog_ms) {
            (Some(out), Some(backlog)) => {
                format!(" in, {out:.0} out, {:.1} s behind at the end", backlog / 1e3)
            }
            _ => what.to_owned(),
        };
        let (p50, p99) = (self.p50_us / 1e3, self.p99_us / 1e3);
        format!(
            "| {load} | {broker} | {per_second:.0}{out} | {p50:.2} ms | {p99:.2} ms | {cpu_us:.2} µs | {rss:.1} MB |\n"
        )
    }
}

impl Figures {
    fn row(&self, load: &str, broker: &str) -> Row {
        let found = self.rows.iter().find(|row| row.load == load && row.broker == broker);
        found.cloned().unwrap_or_default()
    }

    /// Events per second of a broker under a load; 0 if it was not measured.
    #[must_use]
    pub fn per_second(&self, load: &str, broker: &str) -> f64 {
        self.row(load, broker).per_second
    }

    /// The bars.
    #[must_use]
    pub fn bars(&self) -> Vec<Bar> {
        let mosquitto = self.per_second("50 x 100", "mosquitto");
        let plain = self.per_second("50 x 100", "tributary") / mosquitto;
        let ack = self.row("1 x 1", "tributary").p50_us / self.sync_p50_us;
        let path = self.row("into Kafka, paced", "tributary");
        let idle = self.row("1000 idle", "tributary").rss_bytes / 1e6;
        let idle_tls = self.row("1000 idle, TLS", "tributary").rss_bytes / 1e6;
        let idle_many = self.row("10000 idle", "tributary").rss_bytes / 1e6;
        let path_in = path.per_second / mosquitto;
        let behind = path.backlog_ms.unwrap_or(f64::MAX) / 1e3;
        let rss = path.rss_bytes / 1e6;
        let bar = |what, asked, measured, met| Bar { what, asked, measured, met };
        vec![
            bar(
                "QoS 1 at 50 x 100, durable",
                "at least 2 x Mosquitto, which does not sync",
                format!("{plain:.1} x"),
                plain >= 2.0,
            ),
            bar(
                "1 x 1, time to PUBACK, p50",
                "at most 2 x one write and fdatasync",
                format!("{ack:.2} x {:.0} µs", self.sync_p50_us),
                ack <= 2.0,
            ),
            bar(
                "the whole path, in",
                "at least 1.5 x Mosquitto's plain ingest",
                format!("{path_in:.1} x"),
                path_in >= 1.5,
            ),
            bar(
                "the whole path, out",
                "less than 1 s behind after 20 s",
                format!("{behind:.1} s"),
                behind < 1.0,
            ),
            bar(
                "the whole path, CPU per event",
                "at most 6 µs",
                format!("{:.2} µs", path.cpu_us),
                path.cpu_us <= 6.0,
            ),
            bar("the whole path, peak RSS", "at most 64 MB", format!("{rss:.1} MB"), rss <= 64.0),
            bar(
                "1000 idle connections, RSS",
                "at most 16 MB",
                format!("{idle:.1} MB"),
                idle <= 16.0,
            ),
            bar(
                "1000 idle connections over TLS, RSS",
                "at most 24 MB",
                format!("{idle_tls:.1} MB"),
                idle_tls <= 24.0,
            ),
            bar(
                "10000 idle connections, RSS",
                "at most 60 MB",
                format!("{idle_many:.1} MB"),
                idle_many <= 60.0,
            ),
        ]
    }
}
