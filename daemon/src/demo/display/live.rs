//! The numbers as bars that move, below the lines of the story.

use console::style;
use core::time::Duration;
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::scene::Scene;
use crate::demo::fleet::Tally;

/// Label and colour of each bar, from the devices to the cluster.
const BARS: [(&str, &str); 6] = [
    ("published", "cyan"),
    ("acknowledged", "cyan"),
    ("durable", "blue"),
    ("selected", "white"),
    ("in the cluster", "green"),
    ("backlog", "yellow"),
];
const LINK: &str = "━━━━━━━━━━";
const CUT: &str = "╌╌╌╌╌╌╌╌╌╌";

/// The part of the screen that changes.
#[derive(Debug)]
pub(super) struct Live {
    screen: MultiProgress,
    way: ProgressBar,
    bars: [ProgressBar; BARS.len()],
    /// Time and publishes of the last moments shown, for the rate.
    last: [(Duration, u64); 8],
}

impl Live {
    /// Bars that are full at `expected` readings.
    pub(super) fn new(target: ProgressDrawTarget, expected: u64) -> Self {
        let screen = MultiProgress::with_draw_target(target);
        let line = |template: &str| {
            ProgressStyle::with_template(template).expect("the template is well-formed")
        };
        let way = screen.add(ProgressBar::new(1).with_style(line("\n  {msg}\n")));
        let bars = BARS.map(|(label, colour)| {
            let template = format!("  {{prefix:<15}}{{bar:28.{colour}/238}} {{msg}}");
            let style = line(&template).progress_chars("━╸─");
            screen.add(ProgressBar::new(expected).with_style(style).with_prefix(label))
        });
        Self { screen, way, bars, last: <[(Duration, u64); 8]>::default() }
    }

    /// Prints a line above the bars.
    pub(super) fn tell(&self, line: &str) {
        // A screen that cannot be written to is no reason to stop.
        self.screen.println(line).unwrap_or_default();
    }

    /// Moves the bars.
    pub(super) fn show(&mut self, scene: &Scene) {
        let Tally { published, acknowledged, selected, .. } = scene.tally;
        self.way.set_message(way(scene));
        let rate = self.rate(scene.elapsed, published);
        let oldest = match scene.oldest_ms {
            Some(ms) if scene.backlog > 0 && ms >= 1_000 => {
                format!("oldest {}.{} s", ms / 1_000, ms % 1_000 / 100)
            }
            _ => String::new(),
        };
        let rows = [
            (published, format!("{}/s", HumanCount(rate))),
            (acknowledged, String::new()),
            (scene.durable, String::new()),
            (selected, String::new()),
            (scene.in_cluster, String::new()),
            (scene.backlog, oldest),
        ];
        for (bar, (count, note)) in self.bars.iter().zip(rows) {
            bar.set_position(count);
            bar.set_message(format!(
                "{:>9}   {}",
                HumanCount(count).to_string(),
                style(note).dim()
            ));
        }
    }

    /// Takes the bars off the screen; the story stays.
    pub(super) fn close(self) {
        self.screen.clear().unwrap_or_default();
    }

    /// Publishes per second over the last moments.
    fn rate(&mut self, elapsed: Duration, published: u64) -> u64 {
        let (then, before) = self.last[0];
        self.last.rotate_left(1);
        self.last[self.last.len() - 1] = (elapsed, published);
        let ms = u64::try_from(elapsed.saturating_sub(then).as_millis()).unwrap_or(u64::MAX);
        (published - before) * 1_000 / ms.max(1)
    }
}

/// From the devices to the cluster, and where the way is cut.
fn way(scene: &Scene) -> String {
    let node = |up: bool, name: &str| {
        if up {
            format!("{} {name}", style("●").green())
        } else {
            format!("{} {}", style("○").red(), style(name).dim())
        }
    };
    let link = |up: bool| if up { style(LINK).green() } else { style(CUT).dim() };
    format!(
        "{} {} {} {} {}     {:>4.1} s",
        node(true, "devices"),
        link(scene.gateway_up && scene.tally.connected > 0),
        node(scene.gateway_up, "gateway"),
        link(scene.gateway_up && scene.upstream_up && scene.upstream_state == "live"),
        node(scene.upstream_up, "cluster"),
        scene.elapsed.as_secs_f64(),
    )
}
