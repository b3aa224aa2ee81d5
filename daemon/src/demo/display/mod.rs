//! What the demo shows: the story line by line, the numbers as they move, and the account.
//!
//! On a terminal the numbers are bars below the story; elsewhere a plain line now and then.

mod closing;
mod live;
mod scene;

use core::time::Duration;
use std::path::Path;

use console::{Term, style};
use indicatif::{HumanCount, ProgressDrawTarget};

use super::DemoArgs;
use super::gateway::Gateway;
use super::scenario::Outcome;
use super::stage::Stage;
use super::upstream::Upstream;
use live::Live;
pub(super) use scene::Scene;

/// Between two plain lines of numbers.
const PLAIN_EVERY: Duration = Duration::from_secs(2);

/// A number and what is counted: one of it, or many.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(number), if number == 1 { one } else { many })
}

/// Where the demo is shown.
#[derive(Debug)]
pub(super) struct Display {
    /// Story and numbers: standard output, or standard error when that is for JSON.
    term: Term,
    json: bool,
    live: Option<Live>,
    /// When the next plain line is due.
    plain_due: Duration,
}

impl Display {
    /// Nothing is shown yet.
    pub(super) fn new(args: &DemoArgs) -> Self {
        let term = if args.json { Term::stderr() } else { Term::stdout() };
        if args.json {
            console::set_colors_enabled(console::colors_enabled_stderr());
        }
        Self { term, json: args.json, live: None, plain_due: PLAIN_EVERY }
    }

    /// The curtain rises.
    pub(super) fn open(
        &mut self,
        args: &DemoArgs,
        stage: &Stage,
        gateway: &Gateway,
        upstream: &Upstream,
    ) {
        let ram = if stage.is_in_ram() { " (in RAM: no disk to write to here)" } else { "" };
        self.line(&format!("\n  {}", style("Tributary: a bad day").bold()));
        for line in [
            format!("  gateway   a process of its own, MQTT on {}", gateway.address()),
            format!("            its log in {}{ram}", stage.path().display()),
            format!(
                "  cluster   a stand-in that speaks Kafka's protocol on {}",
                upstream.bootstrap()
            ),
        ] {
            self.line(&style(line).dim().to_string());
        }
        self.line("");
        if self.term.is_term() && self.term.features().is_attended() {
            let target = ProgressDrawTarget::term(self.term.clone(), 20);
            self.live = Some(Live::new(target, args.rate * args.seconds * 84 / 100));
        }
        let devices = count(args.devices as u64, "device publishes", "devices publish");
        let rate = count(args.rate, "reading", "readings");
        self.tell(Duration::ZERO, &format!("{devices} {rate} a second, QoS 1"));
    }

    /// Something happens.
    pub(super) fn tell(&mut self, at: Duration, what: &str) {
        let at = style(format!("{:>5.1} s", at.as_secs_f64())).dim();
        let text = format!("  {at}   {what}");
        match &self.live {
            Some(live) => live.tell(&text),
            None => self.line(&text),
        }
    }

    /// How things stand now.
    pub(super) fn show(&mut self, scene: &Scene) {
        if let Some(live) = &mut self.live {
            live.show(scene);
        } else if scene.elapsed >= self.plain_due {
            self.plain_due = scene.elapsed + PLAIN_EVERY;
            self.line(&format!("  {:>5.1} s   . {scene}", scene.elapsed.as_secs_f64()));
        }
    }

    /// The account.
    pub(super) fn close(&mut self, args: &DemoArgs, outcome: &Outcome, kept: Option<&Path>) {
        self.live.take().into_iter().for_each(Live::close);
        self.lines(&closing::account(outcome));
        self.kept(kept);
        if args.json {
            print(&Term::stdout(), &format!("{:#}", closing::as_json(outcome, kept)));
        } else if outcome.account.is_clean() {
            self.lines(&closing::next_steps());
        }
    }

    /// There is no account, and why.
    pub(super) fn fail(&mut self, why: &str, kept: Option<&Path>) {
        self.live.take().into_iter().for_each(Live::close);
        if self.json {
            print(&Term::stdout(), &format!("{:#}", closing::failure_as_json(why, kept)));
        }
        print(&Term::stderr(), &format!("\n{}: {why}", style("error").for_stderr().red().bold()));
        self.kept(kept);
    }

    fn kept(&self, kept: Option<&Path>) {
        if let Some(dir) = kept {
            let dir = dir.display();
            self.line(&format!("\n  kept: {dir} (tributary.toml, gateway.log, data)"));
        }
    }

    fn lines(&self, lines: &[String]) {
        for line in lines {
            self.line(line);
        }
    }

    fn line(&self, text: &str) {
        print(&self.term, text);
    }
}

/// Nobody may be there to read; the exit code tells all the same.
fn print(term: &Term, text: &str) {
    term.write_line(text).unwrap_or_default();
}
