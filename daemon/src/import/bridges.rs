//! Bridges. What one brings in has a counterpart, `[[source]]`; what one sends to another broker goes
//! to Kafka here, and is proposed as a route. Both are written as comments: the other end is another.

use super::{Import, Line, quoted};

/// A bridge.
#[derive(Clone, Debug, Default)]
pub(super) struct Bridge {
    name: String,
    address: Option<String>,
    is_tls: bool,
    user: Option<String>,
    topics: Vec<Topic>,
}

#[derive(Clone, Debug)]
struct Topic {
    place: String,
    /// With the prefixes of the two sides.
    local: String,
    remote: String,
    incoming: bool,
    outgoing: bool,
    qos: String,
}

impl Bridge {
    /// `connection name`.
    pub(super) fn begin(line: &Line<'_>) -> Self {
        Self { name: line.value.to_owned(), ..Self::default() }
    }

    /// Takes an option.
    pub(super) fn take(&mut self, line: &Line<'_>, import: &mut Import) {
        match line.option {
            "address" | "addresses" => {
                let mut addresses = line.value.split_whitespace().map(str::to_owned);
                self.address = addresses.next();
                if addresses.next().is_some() {
                    import.remark(line, "of several addresses the first is taken");
                }
            }
            "topic" => match Topic::parse(line) {
                Some(topic) => self.topics.push(topic),
                None => import.remark(line, "cannot be understood"),
            },
            "bridge_cafile" | "bridge_capath" => self.is_tls = true,
            "remote_username" | "username" => self.user = Some(line.value.to_owned()),
            "remote_password" | "password" => {
                import.remark(line, "write it into a file of its own for `password_file`");
            }
            _ => import.remark(line, "belongs to a bridge: see the proposal in the configuration"),
        }
    }

    /// Writes what it brings and sends, as proposals.
    pub(super) fn write(self, import: &mut Import) {
        let scheme = if self.is_tls { "mqtts" } else { "mqtt" };
        let address = self.address.unwrap_or_default();
        let port = if self.is_tls { ":8883" } else { ":1883" };
        let port = if address.contains(':') { "" } else { port };
        import.put(&format!("\n# The bridge {}:", quoted(&self.name)));
        let incoming: Vec<&Topic> = self.topics.iter().filter(|topic| topic.incoming).collect();
        if let Some(first) = incoming.first() {
            let topics: Vec<String> = incoming.iter().map(|topic| quoted(&topic.remote)).collect();
            import.put("# [[source]]");
            import.put(&format!("# url = {}", quoted(&format!("{scheme}://{address}{port}"))));
            import.put(&format!("# topics = [{}]", topics.join(", ")));
            // A source has no QoS 2.
            let qos = u8::from(first.qos != "0");
            import.put(&format!("# qos = {qos}"));
            if let Some(user) = &self.user {
                import.put(&format!("# username = {}", quoted(user)));
            }
        }
        for topic in &self.topics {
            let moved = topic.local != topic.remote;
            if topic.outgoing {
                let name = kafka_name(&topic.remote);
                import.put("# [[route]]");
                import.put(&format!("# from = {}", quoted(&topic.local)));
                import.put(&format!("# topic = {}", quoted(&name)));
            }
            let why = match (topic.incoming, topic.outgoing) {
                (true, false) if moved => "proposed as a [[source]]; its topics keep their names",
                (true, false) => "proposed as a [[source]]",
                (false, _) => "proposed as a [[route]] to Kafka, not to another broker",
                (true, true) => "proposed as a [[source]] and as a [[route]] to Kafka",
            };
            let option = "topic".to_owned();
            let place = topic.place.clone();
            import.remarks.push(super::Remark { place, option, why: why.to_owned() });
        }
    }
}

impl Topic {
    /// `topic pattern [direction [qos [local-prefix [remote-prefix]]]]`.
    fn parse(line: &Line<'_>) -> Option<Self> {
        let words: Vec<&str> = line.value.split_whitespace().collect();
        let word = |index: usize| words.get(index).copied().unwrap_or_default();
        let part = |index: usize| word(index).trim_matches('"');
        let direction = if words.len() < 2 { "out" } else { word(1) };
        if words.is_empty() || !matches!(direction, "in" | "out" | "both") {
            return None;
        }
        Some(Self {
            place: line.place.clone(),
            local: format!("{}{}", part(3), part(0)),
            remote: format!("{}{}", part(4), part(0)),
            incoming: direction != "out",
            outgoing: direction != "in",
            qos: if words.len() < 3 { "0".to_owned() } else { word(2).to_owned() },
        })
    }
}

/// A name that Kafka takes.
fn kafka_name(topic: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let levels = topic.split('/').filter(|level| !matches!(*level, "#" | "+" | ""));
    let name: Vec<String> = levels
        .map(|level| level.chars().map(|c| if legal(c) { c } else { '_' }).collect())
        .collect();
    if name.is_empty() { "events".to_owned() } else { name.join(".") }
}
