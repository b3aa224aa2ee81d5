//! Which events a route takes: `events`.

use serde::{Deserialize, Serialize};
use toml::Spanned;
use tributary_core::record::Origin;

use super::Config;
use super::problem::Problem;
use super::shape::named;
use super::template::Template;

/// Whose events a route selects from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Events {
    /// What devices, sources and rules have published, and what was put back.
    #[default]
    Devices,
    /// What the centre has sent by a downlink.
    Commands,
    /// Both.
    All,
}

impl Events {
    const ALL: [(&'static str, Self); 3] =
        [("devices", Self::Devices), ("commands", Self::Commands), ("all", Self::All)];

    /// Whether an event of this origin may be selected. What was put back is for one route alone.
    #[must_use]
    pub const fn include(self, origin: Origin) -> bool {
        match origin {
            Origin::Replay => true,
            Origin::Downlink => matches!(self, Self::Commands | Self::All),
            Origin::Device | Origin::Source | Origin::Rule => {
                matches!(self, Self::Devices | Self::All)
            }
        }
    }
}

pub(super) fn check(events: Option<&Spanned<String>>, problems: &mut Vec<Problem>) -> Events {
    let named = |events| named(&Events::ALL, events, "a kind of events", problems);
    events.and_then(named).unwrap_or_default()
}

/// A command must not go back to the topic that it came from.
pub(super) fn check_circles(
    config: &Config,
    asked: &[Option<&Spanned<String>>],
    problems: &mut Vec<Problem>,
) {
    for (route, asked) in config.routes.iter().zip(asked) {
        let template = Template::of(&route.topic);
        let makes = |from: &str| match &template {
            Some(template) => template.may_make(from),
            None => route.topic == from,
        };
        let is_back = config.downlinks.iter().any(|downlink| makes(&downlink.from));
        if let Some(place) = asked.filter(|_| is_back && route.events.include(Origin::Downlink)) {
            let what = format!("commands of the topic `{}` would go round in circles", route.topic);
            problems.push(
                Problem::at(place.span(), what).help("send what was done to a topic of its own"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(route: &str) -> Result<Events, Vec<String>> {
        let upstream = "[upstream]\nbrokers = [\"kafka:9092\"]\n";
        let downlink = "[[downlink]]\nfrom = \"commands\"\nto = \"cmd/{key}\"\n";
        let text = format!("{upstream}{downlink}[[route]]\nfrom = \"a/+\"\n{route}\n");
        let config = Config::parse(&text);
        let config =
            config.map_err(|all| all.iter().map(|it| it.message.clone()).collect::<Vec<_>>())?;
        Ok(config.routes[0].events)
    }

    #[test]
    fn commands_are_taken_where_that_is_asked_for_and_never_in_circles() {
        assert_eq!(of("topic = \"commands\""), Ok(Events::Devices));
        assert_eq!(of("topic = \"sent\"\nevents = \"commands\""), Ok(Events::Commands));
        assert_eq!(of("topic = \"sent\"\nevents = \"all\""), Ok(Events::All));
        assert_eq!(of("topic = \"commands\"\nevents = \"devices\""), Ok(Events::Devices));
        let circles = vec!["commands of the topic `commands` would go round in circles".to_owned()];
        assert_eq!(of("topic = \"commands\"\nevents = \"all\""), Err(circles));
        let made = of("topic = \"{2}\"\nevents = \"commands\"");
        assert!(made.is_err_and(|all| all[0].contains("round in circles")));
        let unknown = of("topic = \"sent\"\nevents = \"none\"");
        assert_eq!(unknown, Err(vec!["`none` is not a kind of events".to_owned()]));
    }

    #[test]
    fn what_was_put_back_is_for_the_route_that_it_names() {
        for events in [Events::Devices, Events::Commands, Events::All] {
            assert!(events.include(Origin::Replay));
        }
        assert!(!Events::Devices.include(Origin::Downlink));
        assert!(!Events::Commands.include(Origin::Device));
    }
}
