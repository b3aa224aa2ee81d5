//! What the checks accept, refuse, and say.

use super::*;

fn problems(source: &str) -> Vec<Problem> {
    Config::parse(source).expect_err("it is wrong")
}

/// The one problem of `source`: message, help and the text at fault.
fn only(source: &str) -> (String, String, String) {
    let mut list = problems(source);
    assert_eq!(list.len(), 1, "{list:?}");
    let problem = list.remove(0);
    let at = problem.span.map_or(String::new(), |span| source[span].to_owned());
    (problem.message, problem.help.unwrap_or_default(), at)
}

#[test]
fn an_empty_file_is_valid() {
    let config = Config::parse("").expect("valid");
    assert_eq!(config.listeners, [SocketAddr::from(([127, 0, 0, 1], 1883))]);
    assert_eq!(config.log.dir, Path::new("tributary-data"));
    assert_eq!(config.upstream, None);
    assert_eq!(config.routes, []);
}

#[test]
fn an_unknown_key_gets_a_suggestion() {
    let (message, help, at) = only("[log]\nsizes = \"1 GiB\"\n");
    assert_eq!(message, "unknown key `sizes`");
    assert_eq!(help, "did you mean `size`?");
    assert_eq!(at, "sizes");
}

#[test]
fn every_mistake_is_found_at_once_and_placed() {
    let source = r#"
gateway = "press line"
[log]
size = "1 MiB"
[[listener]]
address = "somewhere"
[upstream]
brokers = ["kafka"]
[[route]]
from = "plant/#/x"
topic = "bad topic"
lane = "fast"
where = "temperature >"
"#;
    let list = problems(source);
    let at: Vec<&str> =
        list.iter().map(|p| p.span.clone().map_or("", |span| &source[span])).collect();
    assert_eq!(list.len(), 8, "{list:#?}");
    assert_eq!(at[0], "\"press line\"");
    assert!(list[4].message.contains("'#' must stand alone"), "{}", list[4].message);
}

#[test]
fn a_mistake_in_an_expression_is_placed_inside_its_string() {
    let source = "[upstream]\nbrokers = [\"k:1\"]\n[[route]]\nfrom = \"#\"\ntopic = \"t\"\nwhere = \"a >> 70\"\n";
    let (_, _, at) = only(source);
    assert_eq!(at, ">>");
}

#[test]
fn an_upstream_without_routes_takes_everything_to_events() {
    let config = Config::parse("[upstream]\nbrokers = [\"[fd00::1]:9092\"]").expect("valid");
    assert_eq!(config.upstream.map(|u| u.brokers), Some(vec![("fd00::1".to_owned(), 9092)]));
    assert_eq!(config.routes.len(), 1);
    assert_eq!((config.routes[0].topic.as_str(), &config.routes[0].from), ("events", &None));
}

#[test]
fn two_routes_of_one_name_are_refused() {
    let route = "[[route]]\nfrom = \"a\"\ntopic = \"t\"\n";
    let (message, ..) = only(&format!("{route}{route}"));
    assert_eq!(message, "a second route is called `t`");
}

#[test]
fn problems_show_the_line() {
    let source = "[log]\nsizes = \"1 GiB\"\n".to_owned();
    let list = problems(&source);
    let text = Problems { path: "tributary.toml".into(), source, list }.render(false);
    assert!(text.contains("tributary.toml:2:1"), "{text}");
    assert!(text.contains("sizes = "), "{text}");
    assert!(text.contains("did you mean `size`?"), "{text}");
}
