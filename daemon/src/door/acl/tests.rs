//! What lines allow and deny, and what is said of wrong ones.

use super::*;

const TEXT: &str = "
# anonymous
topic read public/#

user press-3
topic write plant/press-3/#
topic deny plant/press-3/secret
topic plant/press-3/secret
topic read $SYS/broker/#

user desk
topic read plant/#
topic deny plant/vault/#

pattern readwrite devices/%u/%c/#
pattern read news/+/%u
";

fn acl() -> Acl {
    Acl::parse(TEXT).expect("it is valid")
}

const fn who<'a>(user: Option<&'a str>, client: &'a str) -> Who<'a> {
    Who { user, client }
}

const NOBODY: Who<'static> = who(None, "c");
const PRESS: Who<'static> = who(Some("press-3"), "c1");
const DESK: Who<'static> = who(Some("desk"), "c2");

#[test]
fn what_no_line_allows_is_denied() {
    let acl = acl();
    assert!(acl.allows(NOBODY, Access::Read, "public/a"));
    assert!(acl.allows(NOBODY, Access::Read, "public"));
    assert!(!acl.allows(NOBODY, Access::Write, "public/a"));
    assert!(!acl.allows(DESK, Access::Read, "public/a"), "the lines above are for anonymous ones");
    assert!(acl.allows(PRESS, Access::Write, "plant/press-3/telemetry"));
    assert!(!acl.allows(PRESS, Access::Read, "plant/press-3/telemetry"));
    assert!(!acl.allows(PRESS, Access::Write, "plant/press-33"));
    assert!(!acl.allows(who(Some("stranger"), "c"), Access::Read, "plant/press-3/telemetry"));
    assert!(!Acl::default().allows(PRESS, Access::Read, "a"));
}

#[test]
fn a_line_that_denies_goes_before_all_that_allow() {
    let acl = acl();
    assert!(!acl.allows(PRESS, Access::Write, "plant/press-3/secret"));
    assert!(!acl.allows(DESK, Access::Read, "plant/vault/door"));
    assert!(acl.allows(DESK, Access::Read, "plant/hall/door"));
}

#[test]
fn names_stand_for_whole_levels() {
    let acl = acl();
    assert!(acl.allows(PRESS, Access::Write, "devices/press-3/c1/state"));
    assert!(!acl.allows(PRESS, Access::Write, "devices/press-3/c2/state"));
    assert!(!acl.allows(PRESS, Access::Write, "devices/desk/c1/state"));
    assert!(!acl.allows(NOBODY, Access::Write, "devices//c/state"));
    assert!(!acl.allows(who(Some(""), "c"), Access::Write, "devices//c/state"));
    assert!(acl.allows(DESK, Access::Read, "news/today/desk"));
    for name in ["+", "#", "a/b"] {
        let topic = format!("devices/{name}/c/x");
        assert!(!acl.allows(who(Some(name), "c"), Access::Write, &topic), "{name}");
        assert!(!acl.allows_subscription(who(Some(name), "c"), "devices/other/c/x"), "{name}");
    }
}

#[test]
fn wildcards_do_not_reach_what_begins_with_a_dollar() {
    let acl = Acl::parse("topic read #\nuser u\ntopic read +/a\ntopic read $SYS/#").expect("valid");
    assert!(!acl.allows(NOBODY, Access::Read, "$SYS/a"));
    assert!(!acl.allows_subscription(NOBODY, "$SYS/a"));
    assert!(acl.allows(who(Some("u"), "c"), Access::Read, "$SYS/a/b"));
    assert!(acl.allows_subscription(who(Some("u"), "c"), "$SYS/#"));
    assert!(!acl.allows_subscription(who(Some("u"), "c"), "$other/a"));
}

#[test]
fn a_subscription_needs_something_that_may_be_read() {
    let acl = acl();
    for filter in ["#", "+/a", "plant/#", "plant/+/state", "plant/hall/x", "$share/g/plant/x"] {
        assert!(acl.allows_subscription(DESK, filter), "{filter}");
    }
    for filter in ["plant/vault/#", "plant/vault/+", "other/#", "$share/g/plant/vault/x", "$SYS/#"]
    {
        assert!(!acl.allows_subscription(DESK, filter), "{filter}");
    }
    assert!(!acl.allows_subscription(PRESS, "plant/press-3/state"), "that may only be written");
    assert!(acl.allows_subscription(PRESS, "devices/+/c1/x"));
    assert!(!acl.allows_subscription(PRESS, "devices/desk/#"));
}

/// Every filter of two levels against the topics it selects, one by one.
#[test]
fn subscriptions_agree_with_topics() {
    let names = ["a", "b"];
    let topics: Vec<String> = names
        .iter()
        .flat_map(|one| {
            names.iter().map(move |two| format!("{one}/{two}")).chain([(*one).to_owned()])
        })
        .collect();
    let filters = ["#", "+", "a", "b", "+/+", "+/a", "a/+", "a/b", "a/#", "+/#", "b/#"];
    for allowed in filters {
        for denied in filters {
            let text = format!("topic read {allowed}\ntopic deny {denied}");
            let acl = Acl::parse(&text).expect("valid");
            for filter in filters {
                let selected: Vec<_> = topics
                    .iter()
                    .filter(|topic| tributary_core::topic::matches(filter, topic))
                    .collect();
                let reads = |topic: &&&String| acl.allows(NOBODY, Access::Read, topic);
                // A subscription that is refused must be one that selects nothing to read.
                if !acl.allows_subscription(NOBODY, filter) {
                    assert_eq!(selected.iter().find(reads), None, "{text}\n{filter}");
                }
            }
        }
    }
}

#[test]
fn every_wrong_line_is_told_with_its_number() {
    let text = "topic read a\nusr x\ntopic read a/#/b\nuser\npattern a%u/b\ntopic x/%u\n\ntopic";
    let mistakes = Acl::parse(text).expect_err("it is wrong");
    let lines: Vec<usize> = mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6, 8], "{mistakes:?}");
    assert!(mistakes[4].help.contains("pattern"), "{mistakes:?}");
}
