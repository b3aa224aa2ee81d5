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
    let [listener] = &config.listeners[..] else { panic!("one listener") };
    assert_eq!(listener.address.to_string(), "127.0.0.1:1883");
    assert!(listener.anonymous && listener.tls.is_none() && listener.acl.is_none());
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
fn a_log_has_a_directory_and_a_largest_size() {
    let (message, _, at) = only("[log]\ndir = \"\"\n");
    assert_eq!((message.as_str(), at.as_str()), ("the log has no directory", "\"\""));
    Config::parse("[log]\nsize = \"256 GiB\"\n").expect("valid");
    let (message, help, at) = only("[log]\nsize = \"257 GiB\"\n");
    assert_eq!((message.as_str(), at.as_str()), ("the log is too large", "\"257 GiB\""));
    assert_eq!(help, "it can have 256.0 GiB at most");
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
fn an_address_that_is_none_is_told_why() {
    let listener = |address: &str| only(&format!("[[listener]]\naddress = \"{address}\"\n")).0;
    assert_eq!(listener("nowhere"), "`nowhere` is not an address to listen on");
    let too_high = "`127.0.0.1:99999` is not an address to listen on: ports end at 65535";
    assert_eq!(listener("127.0.0.1:99999"), too_high);
    let unknown = listener("nosuchhost.invalid:1883");
    assert!(unknown.starts_with("the name `nosuchhost.invalid` does not resolve: "), "{unknown}");
    let (message, ..) = only("[upstream]\nbrokers = [\"kafka:99999\"]\n");
    assert_eq!(message, "`kafka:99999` is not a broker's address: ports end at 65535");
}

#[test]
fn what_a_listener_cannot_be_told_is_named() {
    let listener = |line: &str| only(&format!("[[listener]]\naddress = \"127.0.0.1:1\"\n{line}\n"));
    for (line, message, help) in [
        ("max_connections = 0", "`max_connections` cannot be 0", "from 1 to 60000"),
        ("connect_timeout = \"1h\"", "`connect_timeout` cannot be 1h", "from \"500 ms\" to \"2m\""),
        ("keep_alive_max = \"1500 ms\"", "`keep_alive_max` cannot be 1s 500ms", "in whole seconds"),
    ] {
        let (found, advice, _) = listener(line);
        assert_eq!(found, message);
        assert!(advice.starts_with(help), "{advice}");
    }
}

#[test]
fn a_file_names_what_lies_beside_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("tributary.toml");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text);
    write("acl", "topic read a\n").expect("it can be written");
    let source = "[[listener]]\naddress = \"127.0.0.1:1\"\nacl = \"acl\"\n";
    write("tributary.toml", source).expect("it can be written");
    let config = Config::load(&path).expect("valid");
    assert_eq!(config.log.dir, dir.path().join("tributary-data"));
    assert_eq!(config.listeners[0].acl, Some(dir.path().join("acl")));
    // Where the log is can be told although a file is missing.
    write("tributary.toml", &source.replace("\"acl\"", "\"missing\"")).expect("it can be written");
    let why = Config::load(&path).expect_err("a file is missing").to_string();
    assert!(why.contains("missing"), "{why}");
    assert_eq!(Config::log_dir(&path).ok(), Some(dir.path().join("tributary-data")));
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("tributary.toml");
    let told = |path: &Path| Config::load(path).expect_err("it cannot be read").to_string();
    let missing = told(&path);
    assert!(missing.contains(&path.display().to_string()), "{missing}");
    assert!(missing.contains("`tributary init` writes one"), "{missing}");
    let folder = told(dir.path());
    assert!(folder.contains(&dir.path().display().to_string()), "{folder}");
    assert!(!folder.contains("init") && folder.contains("name the file"), "{folder}");
    std::fs::write(&path, b"gateway = \"\xFF\"\n").expect("it can be written");
    let binary = told(&path);
    assert!(binary.contains(&path.display().to_string()) && !binary.contains("init"), "{binary}");
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
fn a_topic_belongs_to_one_lane() {
    let route = |name, lane| {
        format!("[[route]]\nname = \"{name}\"\nfrom = \"a\"\ntopic = \"t\"\nlane = \"{lane}\"\n")
    };
    let (message, _, at) = only(&(route("one", "high") + &route("two", "bulk")));
    assert_eq!(message, "topic `t` is in lane \"bulk\" here and in \"high\" above");
    assert_eq!(at, "\"bulk\"");
    let config = Config::parse(&(route("one", "high") + &route("two", "high"))).expect("valid");
    assert_eq!(config.routes[1].lane, Lane::High);
}

#[test]
fn a_topic_may_name_levels() {
    let route =
        |from, topic, more| format!("[[route]]\nfrom = \"{from}\"\ntopic = \"{topic}\"\n{more}\n");
    let route_of = |source: &str| Config::parse(source).expect("valid").routes[0].clone();
    assert_eq!(route_of(&route("a/+", "p.{2}", "")).topics_max, 32);
    assert_eq!(route_of(&route("a/#", "{9}", "topics_max = 7")).topics_max, 7);
    assert_eq!(route_of(&route("a/+", "p", "")).topics_max, 0);
    for (source, words, place) in [
        (
            route("a/+", "p.{x}.q", ""),
            "`topic`: between braces stands the number of a level, from 1",
            "{x}",
        ),
        (route("a/+", "p.{2", ""), "`topic`: a `{` has no `}`", "{"),
        (route("a/+", "p.2}", ""), "`topic`: a `}` has no `{`", "}"),
        (route("a/+", "p.{3}", ""), "there is no level 3 in what `from` selects", "\"p.{3}\""),
        (route("a/+", "p {1}", ""), "`p {1}` cannot be a Kafka topic", "\"p {1}\""),
        (route("a/+", "__{1}", ""), "`__{1}` is reserved", "\"__{1}\""),
        (route("a", "p", "topics_max = 9"), "`topics_max` is for a topic that names levels", "9"),
        (route("a", "{1}", "topics_max = 0"), "a route makes 1 to 256 topics", "0"),
        (
            route("a", "{1}", "topics_max = 200") + &route("a", "x.{1}", "topics_max = 57"),
            "the routes may make 257 topics, that is more than 256",
            "\"x.{1}\"",
        ),
        (
            route("a", "x.{1}", "") + &route("b", "x.y", "lane = \"high\""),
            "`x.y` in lane \"high\" may be the same topic as `x.{1}` in \"normal\" above",
            "\"high\"",
        ),
    ] {
        let (message, _, at) = only(&source);
        assert_eq!((message.as_str(), at.as_str()), (words, place));
    }
}

#[test]
fn records_have_the_shape_that_their_route_says() {
    let route = |shape: &str| format!("[[route]]\nfrom = \"a\"\ntopic = \"t\"\n{shape}\n");
    let shape = |text: &str| Config::parse(&route(text)).expect("valid").routes[0].shape;
    assert_eq!(shape(""), Shape::default());
    let all = "headers = [\"gateway\", \"offset\", \"route\", \"topic\", \"time\", \"content-type\", \"user\"]";
    assert_eq!(shape(all), Shape::default());
    let json = shape("format = \"json\"");
    assert_eq!(json, Shape { format: Format::Json, headers: Headers::of(&[Header::Route]) });
    let cloud = shape("format = \"cloudevents\"\nheaders = [\"time\"]");
    assert!(cloud.headers.has(Header::Time) && !cloud.headers.has(Header::Route));
    let (message, help, at) = only(&route("format = \"xml\""));
    assert_eq!((message.as_str(), at.as_str()), ("`xml` is not a format of records", "\"xml\""));
    assert!(help.ends_with("\"raw\", \"cloudevents\", \"json\""), "{help}");
    let (message, _, at) = only(&route("headers = [\"time\", \"tiem\"]"));
    assert_eq!((message.as_str(), at.as_str()), ("`tiem` is not a header of records", "\"tiem\""));
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

/// What `[upstream]` with these lines says about the way.
fn access(lines: &str) -> upstream::Access {
    let source = format!("[upstream]\nbrokers = [\"k:1\"]\n{lines}");
    Config::parse(&source).expect("valid").upstream.expect("there is one").access
}

#[test]
fn tls_is_a_switch_or_a_table() {
    use upstream::Tls;
    assert_eq!(access("tls = true").tls, Some(Tls::default()));
    assert_eq!(access("tls = false").tls, None);
    assert_eq!(access("tls = {}").tls, Some(Tls::default()));
    let whole = access("tls = { ca = \"ca\", cert = \"c\", key = \"k\", server_name = \"n\" }");
    let client = Some(("c".into(), "k".into()));
    let server_name = Some("n".to_owned());
    assert_eq!(whole.tls, Some(Tls { ca: Some("ca".into()), client, server_name }));
    let (message, ..) = only("[upstream]\nbrokers = [\"k:1\"]\ntls = { cert = \"c\" }");
    assert_eq!(message, "a client certificate needs `cert` and `key`");
    let (message, help, at) = only("[upstream]\nbrokers = [\"k:1\"]\ntls = { serve_name = \"c\" }");
    assert_eq!(
        (message.as_str(), help.as_str()),
        ("unknown key `serve_name`", "did you mean `server_name`?")
    );
    assert_eq!(at, "serve_name");
}

#[test]
fn a_login_names_one_place_for_its_secret() {
    use upstream::{Sasl, Secret, Token, Url};
    let sasl = |keys: &str| access(&format!("sasl = {{ {keys} }}")).sasl.expect("a login");
    let gw = "username = \"gw\"";
    let plain = sasl(&format!("mechanism = \"PLAIN\", {gw}, password_env = \"P\""));
    let password = Secret::Env("P".to_owned());
    assert_eq!(plain, Sasl::Plain { username: "gw".to_owned(), password });
    let scram = format!("mechanism = \"SCRAM-SHA-512\", {gw}, password_credential = \"kafka\"");
    let Sasl::Scram { hash, password, .. } = sasl(&scram) else { panic!("another") };
    assert_eq!(hash, tributary_bridge::Hash::Sha512);
    assert_eq!(password, Secret::Credential("kafka".to_owned()));
    let oauth = "mechanism = \"OAUTHBEARER\", token_url = \"https://idp/token?x=1\", \
                 client_id = \"gw\", client_secret_file = \"s\", scope = \"kafka\", \
                 extensions = { logicalCluster = \"lkc-1\" }";
    let Sasl::OauthBearer { token: Token::Provider { url, .. }, extensions } = sasl(oauth) else {
        panic!("another")
    };
    assert_eq!(url, Url { host: "idp".to_owned(), port: 443, path: "/token?x=1".to_owned() });
    assert_eq!(extensions, [("logicalCluster".to_owned(), "lkc-1".to_owned())]);

    let wrong =
        |keys: &str| only(&format!("[upstream]\nbrokers = [\"k:1\"]\nsasl = {{ {keys} }}")).0;
    let cases = [
        ("mechanism = \"GSSAPI\"", "there is no mechanism `GSSAPI`"),
        ("mechanism = \"PLAIN\", password_file = \"p\"", "PLAIN needs a `username`"),
        ("mechanism = \"PLAIN\", username = \"gw\"", "`password` has to come from one place"),
        (
            "mechanism = \"PLAIN\", username = \"g\", password_env = \"P\", password_file = \"p\"",
            "`password` has to come from one place",
        ),
        (
            "mechanism = \"PLAIN\", username = \"g\", password_env = \"P\", scope = \"s\"",
            "`scope` is not for PLAIN",
        ),
        ("mechanism = \"OAUTHBEARER\"", "OAUTHBEARER needs one source of tokens"),
        ("mechanism = \"OAUTHBEARER\", token_url = \"http://idp/\"", "`http://idp/` is not usable"),
    ];
    for (keys, message) in cases {
        assert_eq!(wrong(keys), message);
    }
}

#[test]
fn a_password_in_the_clear_gets_a_word() {
    let plain = "[upstream]\nbrokers = [\"k:1\"]\nsasl = { mechanism = \"PLAIN\", \
                 username = \"gw\", password_env = \"P\" }\n";
    let warnings = |source: &str| Config::parse(source).expect("valid").warnings();
    assert!(warnings(plain)[0].contains("anyone on the way can read it"));
    assert_eq!(warnings(&format!("{plain}tls = true\n")), [""; 0]);
}

#[test]
fn a_proxy_is_an_address_or_a_table() {
    use upstream::{Proxy, ProxyKind};
    let proxy = access("proxy = \"socks5://[fd00::1]:1080\"").proxy;
    let host = "fd00::1".to_owned();
    assert_eq!(proxy, Some(Proxy { kind: ProxyKind::Socks5, host, port: 1080, login: None }));
    let table =
        access("proxy = { url = \"http://p:3128/\", username = \"gw\", password_file = \"/p\" }");
    let proxy = table.proxy.expect("a proxy");
    assert_eq!((proxy.kind, proxy.port), (ProxyKind::Http, 3128));
    assert!(proxy.login.is_some());
    for url in ["https://p:1", "socks5://p", "socks5://user:pw@p:1", "p:1"] {
        let (message, ..) = only(&format!("[upstream]\nbrokers = [\"k:1\"]\nproxy = \"{url}\""));
        assert_eq!(message, "the proxy's address is not usable", "{url}");
    }
}

/// What is wrong with a source of these lines: the message and the text at fault.
fn wrong_source(lines: &str) -> (String, String) {
    let (message, _, at) = only(&format!("[[source]]\n{lines}"));
    (message, at)
}

#[test]
fn a_source_is_a_broker_and_topics() {
    let whole = "[[source]]\nurl = \"mqtts://[fd00::1]\"\ntopics = [\"a/#\", \"$share/g/b/+\"]\n\
                 name = \"n\"\nprotocol = \"3.1.1\"\nqos = 0\nprefix = \"p/\"\nclient_id = \"c\"\n\
                 username = \"u\"\npassword_env = \"P\"\ntls = { ca = \"ca\" }\n";
    let config = Config::parse(whole).expect("valid");
    let tls = upstream::Tls { ca: Some("ca".into()), ..upstream::Tls::default() };
    let expected = Source {
        name: "n".to_owned(),
        host: "fd00::1".to_owned(),
        port: 8883,
        tls: Some(tls),
        protocol: Protocol::V3,
        topics: vec!["a/#".to_owned(), "$share/g/b/+".to_owned()],
        qos: 0,
        prefix: "p/".to_owned(),
        client_id: Some("c".to_owned()),
        login: Some(("u".to_owned(), Some(upstream::Secret::Env("P".to_owned())))),
    };
    assert_eq!(config.sources, [expected]);
    assert_eq!(config.sources[0].url(), "mqtts://[fd00::1]:8883");
    let least = "[[source]]\nurl = \"mqtt://broker\"\ntopics = [\"#\"]\n";
    let source = &Config::parse(least).expect("valid").sources[0];
    assert_eq!((source.name.as_str(), source.port, source.qos), ("broker", 1883, 1));
    assert_eq!((source.protocol, &source.tls, &source.login), (Protocol::V5, &None, &None));
}

/// A source with these lines beside `url` and `topics` is wrong, at this place.
fn check_wrong(cases: &[(&str, &str, &str)]) {
    for (lines, message, at) in cases {
        let url = if lines.contains("url = ") { "" } else { "url = \"mqtt://broker\"\n" };
        let topics = if lines.contains("topics = ") { "" } else { "topics = [\"a\"]\n" };
        let (found, place) = wrong_source(&format!("{url}{topics}{lines}"));
        assert_eq!(found, *message, "{lines}");
        assert!(place.starts_with(at), "{place} for {lines}");
    }
}

#[test]
fn what_a_source_cannot_subscribe_to_is_placed() {
    check_wrong(&[
        ("topics = []", "`topics` lists 0 filters", "[]"),
        (
            "topics = [\"a/#/b\"]",
            "'#' must stand alone in the last level, as in 'plant/#'",
            "\"a/#/b\"",
        ),
        (
            "topics = [\"$share/a\"]",
            "a shared subscription is written $share/group/filter",
            "\"$share/a\"",
        ),
        (
            "topics = [\"$SYS/#\"]",
            "what the other broker tells of itself needs another name",
            "\"$SYS/#\"",
        ),
        ("qos = 2", "a source subscribes at QoS 0 or 1, not 2", "2"),
        ("prefix = \"a/#\"", "a topic to publish to may not contain '+' or '#'", "\"a/#\""),
        ("prefix = \"$a\"", "topics that begin with '$' are the broker's own", "\"$a\""),
    ]);
}

#[test]
fn a_broker_that_cannot_be_a_source_is_placed() {
    let not_an_address = |url: &str| {
        let message = format!("`{url}` is not a broker's address");
        check_wrong(&[(&format!("url = \"{url}\""), &message, &format!("\"{url}\""))]);
    };
    for url in ["tcp://broker", "broker:1883", "mqtt://u:p@broker", "mqtt://broker:0"] {
        not_an_address(url);
    }
    check_wrong(&[
        (
            "url = \"mqtt://localhost\"",
            "this is a listener of this gateway itself",
            "\"mqtt://localhost\"",
        ),
        ("client_id = \"\"", "this cannot be a client identifier", "\"\""),
        (
            "password_env = \"P\"",
            "this source has a password and no `username`",
            "\"mqtt://broker\"",
        ),
        (
            "username = \"u\"\npassword_env = \"P\"\npassword_file = \"p\"",
            "`password` has to come from one place",
            "\"mqtt://broker\"",
        ),
        ("tls = {}", "`tls` is for mqtts:// alone", "{}"),
        (
            "url = \"mqtts://broker\"\ntls = { cert = \"c\" }",
            "a client certificate needs `cert` and `key`",
            "{ cert = \"c\" }",
        ),
        (
            "url = \"mqtts://broker\"\ntls = { server_name = \"c\" }",
            "`server_name` is not for sources",
            "{ server_name = \"c\" }",
        ),
        ("names = \"a\"", "unknown key `names`", "names"),
    ]);
    let one = "url = \"mqtt://broker\"\ntopics = [\"a\"]\n";
    let (message, _) = wrong_source(&format!("{one}[[source]]\n{one}"));
    assert_eq!(message, "a second source is called `broker`");
}

#[test]
fn a_source_on_another_port_of_this_machine_is_another_broker() {
    let topics = "topics = [\"#\"]\n";
    let beside = format!("[[source]]\nurl = \"mqtt://localhost:1884\"\n{topics}");
    assert_eq!(Config::parse(&beside).map(|config| config.sources.len()).ok(), Some(1));
    let all = format!(
        "[[listener]]\naddress = \"0.0.0.0:1884\"\nanonymous = true\n[[source]]\nurl = \"mqtt://127.0.0.1:1884\"\n{topics}"
    );
    let (message, ..) = only(&all);
    assert_eq!(message, "this is a listener of this gateway itself");
}

#[test]
fn a_password_for_a_source_in_the_clear_gets_a_word() {
    let source = |url: &str| {
        let lines = format!(
            "[[source]]\nurl = \"{url}\"\ntopics = [\"#\"]\nusername = \"u\"\npassword_env = \"P\"\n"
        );
        Config::parse(&lines).expect("valid").warnings().len()
    };
    assert_eq!(source("mqtt://broker"), 1);
    assert_eq!(source("mqtts://broker"), 0);
    assert_eq!(source("mqtt://127.0.0.1:1884"), 0);
}
