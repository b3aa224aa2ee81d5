//! Looks at the way to the cluster and at what it permits, step by step: names, TCP, proxy and TLS by
//! opening a connection to each broker, the rest by the bridge's [`Checkup`].

use core::time::Duration;
use std::collections::BTreeSet;

use tributary_bridge::{Checkup, Finding, Settings, Talk as _};

use crate::config::upstream::{Sasl, Upstream};
use crate::io::clock::now;
use crate::io::dial::{Dialer, Step, Trace};
use crate::io::kafka::{self, Links};

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The gateway's name: part of every identity.
    pub gateway: &'a str,
    /// The cluster.
    pub upstream: &'a Upstream,
    /// The topics that routes write to.
    pub topics: BTreeSet<String>,
    /// The topics that downlinks read.
    pub reads: BTreeSet<String>,
    /// Whether missing topics are made.
    pub create: bool,
}

/// Looks, and tells each finding as it comes.
pub async fn run(wanted: Wanted<'_>, mut tell: impl FnMut(&Finding)) {
    let Wanted { gateway, upstream, topics, reads, create } = wanted;
    let dialer = Dialer::new(&upstream.access);
    let mut reached = false;
    for (host, port) in &upstream.brokers {
        let mut trace = Trace::default();
        let opened = dialer.dial(host, *port, &mut trace).await;
        reached |= opened.is_ok();
        let error = opened.err().map(|error| (error.step, error.why));
        for finding in way(&format!("{host}:{port}"), &trace, error.as_ref()) {
            tell(&finding);
        }
    }
    if !reached {
        return;
    }
    let principal = match &upstream.access.sasl {
        Some(Sasl::Plain { username, .. } | Sasl::Scram { username, .. }) => username.as_str(),
        Some(Sasl::OauthBearer { .. }) => "<subject of the token>",
        None if upstream.access.tls.as_ref().is_some_and(|tls| tls.client.is_some()) => {
            "<subject of the certificate>"
        }
        None => "ANONYMOUS",
    };
    let settings = Settings {
        authenticate: upstream.access.sasl.is_some(),
        encrypted: upstream.access.tls.is_some(),
        delivery: super::lanes::delivery(upstream.delivery),
        ..Settings::new(gateway, 0, upstream.brokers.clone())
    };
    let mut checkup = Checkup::new(now(), settings, (topics, reads), create, principal);
    let mut links = Links::new(&upstream.access);
    loop {
        kafka::connect(&mut checkup, &mut links);
        while let Some(finding) = checkup.poll_finding() {
            tell(&finding);
        }
        if checkup.is_done() {
            return;
        }
        let deadline = checkup.poll_timeout();
        let pause =
            deadline.map_or(Duration::from_secs(1), |at| Duration::from_millis(at.ms_since(now())));
        tokio::select! {
            event = links.next() => kafka::hand_over(event, &mut checkup),
            () = tokio::time::sleep(pause) => checkup.handle_timeout(now()),
        }
    }
}

/// What opening one connection has shown, up to where it ended.
fn way(broker: &str, trace: &Trace, error: Option<&(Step, String)>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |step, outcome| findings.push(Finding { step, outcome, mend: Vec::new() });
    if !trace.addresses.is_empty() {
        let addresses: Vec<String> =
            trace.addresses.iter().map(|address| address.ip().to_string()).collect();
        let whose = trace.proxy.as_deref().unwrap_or(broker);
        add("dns", Ok(format!("{whose} is {}", addresses.join(", "))));
    }
    if let Some(connected) = trace.connected {
        let ms = trace.tcp.as_secs_f64() * 1_000.0;
        add("tcp", Ok(format!("{connected} answers after {ms:.1} ms")));
    }
    let passed = |step| error.is_none_or(|(failed, _)| *failed > step);
    if let Some(proxy) = &trace.proxy
        && trace.connected.is_some()
        && passed(Step::Proxy)
    {
        add("proxy", Ok(format!("{proxy} leads to {broker}")));
    }
    if let Some(tls) = &trace.tls {
        add("tls", Ok(format!("{broker} is who it says, {}", tls.version)));
    }
    if let Some((step, why)) = error {
        let step = match step {
            Step::Dns => "dns",
            Step::Tcp => "tcp",
            Step::Proxy => "proxy",
            Step::Tls => "tls",
        };
        add(step, Err(why.clone()));
    }
    findings
}
