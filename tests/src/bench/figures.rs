//! What was measured, and the bars that it is held against.

/// The loads on a disk whose syncs are slow.
pub(super) const SLOW: [&str; 2] = ["1 x 1, slow syncs", "10 x 1, slow syncs"];

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
    /// Whether `per_second` counts messages that subscribers got.
    pub is_delivered: bool,
}

/// One write of 4 KiB and its `fdatasync`, in µs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Syncs {
    /// Median.
    pub p50_us: f64,
    /// The slowest hundredth.
    pub p99_us: f64,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Where and when.
    pub machine: String,
    /// What the disk itself needs.
    pub sync: Syncs,
    /// The same where each sync takes longer, as a card's does.
    pub slow_sync: Syncs,
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
        let what = match (self.is_connections, self.is_delivered) {
            (true, _) => " let in",
            (_, true) => " delivered",
            _ => "",
        };
        let out = match (self.out_per_second, self.backlog_ms) {
            (Some(out), Some(backlog)) => {
                format!(" in, {out:.0} out, {:.1} s behind at the end", backlog / 1e3)
            }
            _ => what.to_owned(),
        };
        let (p50, p99) = (self.p50_us / 1e3, self.p99_us / 1e3);
        let cpu = if *cpu_us > 0.0 { format!(" {cpu_us:.2} µs ") } else { " ".to_owned() };
        format!(
            "| {load} | {broker} | {per_second:.0}{out} | {p50:.2} ms | {p99:.2} ms |{cpu}| {rss:.1} MB |\n"
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
        let mut bars = self.against_mosquitto();
        bars.extend(self.times_to_puback());
        bars.extend(self.whole_path());
        bars.extend(self.memory());
        bars
    }

    fn against_mosquitto(&self) -> Vec<Bar> {
        let bar = |what, load, least: f64, asked| {
            let ours = self.per_second(load, "tributary");
            let ratio = ours / self.per_second(load, "mosquitto");
            Bar { what, asked, measured: format!("{ratio:.2} x"), met: ratio >= least }
        };
        let none = "at least as many as Mosquitto, which does not sync";
        vec![
            bar(
                "QoS 1 at 50 x 100, durable",
                "50 x 100",
                3.0,
                "at least 3 x Mosquitto, which does not sync",
            ),
            bar("QoS 1 at 1000 x 1, durable", "1000 x 1", 1.0, none),
            bar(
                "QoS 2 at 50 x 100, durable",
                "50 x 100, QoS 2",
                1.5,
                "at least 1.5 x Mosquitto, which does not sync",
            ),
            bar("QoS 0 at 50 x 100", "50 x 100, QoS 0", 2.0, "at least 2 x Mosquitto"),
            bar(
                "one to a thousand, QoS 0",
                "1 to 1000, QoS 0",
                1.0,
                "at least as many as Mosquitto",
            ),
            bar(
                "one to a thousand, QoS 1",
                "1 to 1000, QoS 1",
                1.0,
                "at least as many as Mosquitto",
            ),
        ]
    }

    /// Against one write and sync of the same disk; what the two ends of a connection cost is in it.
    fn times_to_puback(&self) -> Vec<Bar> {
        let bar = |what, (ours, disk): (f64, f64), most: f64, asked| {
            let ratio = ours / disk;
            let measured = format!("{ratio:.2} x {disk:.0} µs");
            Bar { what, asked, measured, met: ratio <= most }
        };
        let (p50, p99) = ("at most 1.5 x one write and fdatasync", "at most 3 x its p99");
        let names = [
            ("1 x 1", self.sync, ["1 x 1, time to PUBACK, p50", "the same, p99"]),
            ("10 x 1", self.sync, ["10 x 1, time to PUBACK, p50", "the same, p99"]),
            (SLOW[0], self.slow_sync, ["1 x 1, slow syncs, time to PUBACK, p50", "the same, p99"]),
            (SLOW[1], self.slow_sync, ["10 x 1, slow syncs, time to PUBACK, p50", "the same, p99"]),
        ];
        let pair = |(load, disk, [median, slowest]): (&str, Syncs, [&'static str; 2])| {
            let ours = self.row(load, "tributary");
            [
                bar(median, (ours.p50_us, disk.p50_us), 1.5, p50),
                bar(slowest, (ours.p99_us, disk.p99_us), 3.0, p99),
            ]
        };
        names.into_iter().flat_map(pair).collect()
    }

    fn whole_path(&self) -> Vec<Bar> {
        let path = self.row("into Kafka, paced", "tributary");
        let path_in = path.per_second / self.per_second("50 x 100", "mosquitto");
        let behind = path.backlog_ms.unwrap_or(f64::MAX) / 1e3;
        let rss = path.rss_bytes / 1e6;
        let cpu = self.row("50 x 100", "tributary").cpu_us;
        let bar = |what, asked, measured, met| Bar { what, asked, measured, met };
        vec![
            bar(
                "QoS 1 at 50 x 100, CPU per event",
                "at most 1.5 µs",
                format!("{cpu:.2} µs"),
                cpu <= 1.5,
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
                "at most 3 µs",
                format!("{:.2} µs", path.cpu_us),
                path.cpu_us <= 3.0,
            ),
            bar("the whole path, peak RSS", "at most 64 MB", format!("{rss:.1} MB"), rss <= 64.0),
        ]
    }

    fn memory(&self) -> Vec<Bar> {
        let bar = |what, load, most: f64, asked| {
            let rss = self.row(load, "tributary").rss_bytes / 1e6;
            Bar { what, asked, measured: format!("{rss:.1} MB"), met: rss > 0.0 && rss <= most }
        };
        vec![
            bar("1000 idle connections, RSS", "1000 idle", 12.0, "at most 12 MB"),
            bar("1000 idle connections over TLS, RSS", "1000 idle, TLS", 24.0, "at most 24 MB"),
            bar("10000 idle connections, RSS", "10000 idle", 60.0, "at most 60 MB"),
        ]
    }
}
