//! The tree against plain matching of every filter.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use proptest::prelude::*;
use tributary_core::record::Qos;
use tributary_core::topic;

use super::{Subscription, Subscriptions};
use crate::codec::reason::Reason;
use crate::codec::subscribe::Options;
use crate::limits;

fn subscription(qos: Qos) -> Subscription {
    Subscription { options: Options::with_qos(qos), identifier: None }
}

/// Key, quality of service, RETAIN as published and identifiers of every match.
fn matches(
    tree: &Subscriptions<u8>,
    topic: &str,
    publisher: Option<u8>,
) -> Vec<(u8, Qos, bool, Vec<NonZeroU32>)> {
    let mut found = Vec::new();
    tree.for_each_match(topic, publisher.as_ref(), |&key, grant| {
        found.push((key, grant.qos, grant.retain_as_published, grant.identifiers.to_vec()));
    });
    found
}

#[test]
fn overlapping_subscriptions_are_one_delivery_at_the_highest_quality() {
    let mut tree = Subscriptions::new();
    let numbered = |qos, number, retain_as_published| Subscription {
        options: Options { retain_as_published, ..Options::with_qos(qos) },
        identifier: NonZeroU32::new(number),
    };
    tree.insert("a/#", 1, numbered(Qos::AtMostOnce, 7, true)).unwrap();
    tree.insert("a/+", 1, numbered(Qos::AtLeastOnce, 5, false)).unwrap();
    tree.insert("a/b", 1, numbered(Qos::AtMostOnce, 0, false)).unwrap();
    tree.insert("#", 2, subscription(Qos::AtMostOnce)).unwrap();
    let (five, seven) = (NonZeroU32::new(5).unwrap(), NonZeroU32::new(7).unwrap());
    let [first, second] = &matches(&tree, "a/b", None)[..] else { panic!("two clients") };
    assert_eq!((first.0, first.1, first.2), (1, Qos::AtLeastOnce, true));
    let mut identifiers = first.3.clone();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [five, seven]);
    assert_eq!(*second, (2, Qos::AtMostOnce, false, Vec::new()));
}

#[test]
fn a_publisher_that_wants_no_echo_gets_none_by_that_subscription() {
    let mut tree = Subscriptions::new();
    let options = Options { no_local: true, ..Options::with_qos(Qos::AtLeastOnce) };
    tree.insert("a", 1, Subscription { options, identifier: None }).unwrap();
    assert_eq!(matches(&tree, "a", Some(1)), []);
    assert_eq!(matches(&tree, "a", Some(2)).len(), 1);
    assert_eq!(matches(&tree, "a", None).len(), 1);
    tree.insert("+", 1, subscription(Qos::AtMostOnce)).unwrap();
    assert_eq!(matches(&tree, "a", Some(1)), [(1, Qos::AtMostOnce, false, Vec::new())]);
    assert_eq!(matches(&tree, "a", None), [(1, Qos::AtLeastOnce, false, Vec::new())]);
}

#[test]
fn a_subscription_takes_the_place_of_an_earlier_one() {
    let mut tree = Subscriptions::new();
    tree.insert("a", 1, subscription(Qos::AtLeastOnce)).unwrap();
    tree.insert("a", 1, subscription(Qos::AtMostOnce)).unwrap();
    assert_eq!(matches(&tree, "a", None), [(1, Qos::AtMostOnce, false, Vec::new())]);
    assert!(tree.remove("a", &1));
    assert!(!tree.remove("a", &1));
    assert!(tree.is_empty());
    assert!(tree.tree.is_empty());
}

#[test]
fn a_filter_has_a_depth_that_recursion_can_walk() {
    let mut tree = Subscriptions::new();
    let deepest = "/".repeat(limits::FILTER_LEVELS_MAX - 1);
    assert_eq!(tree.insert(&deepest, 1, subscription(Qos::AtMostOnce)), Ok(()));
    let deeper = format!("{deepest}/");
    let refused = tree.insert(&deeper, 1, subscription(Qos::AtMostOnce));
    assert_eq!(refused, Err(Reason::TopicFilterInvalid));
    tree.insert("#", 1, subscription(Qos::AtMostOnce)).unwrap();
    assert_eq!(matches(&tree, &"/".repeat(65_535), None).len(), 1);
}

#[test]
fn the_subscriptions_of_a_client_are_bounded() {
    let mut tree = Subscriptions::new();
    let filters: Vec<_> = (0..10_000).map(|number| format!("plant/{number}")).collect();
    let entered = |tree: &mut Subscriptions<u8>, key| {
        let enter =
            |filter: &&String| tree.insert(filter, key, subscription(Qos::AtMostOnce)).is_ok();
        filters.iter().take_while(enter).count()
    };
    let count = entered(&mut tree, 1);
    assert!((1000..2100).contains(&count), "{count}");
    let refused = tree.insert("other", 1, subscription(Qos::AtMostOnce));
    assert_eq!(refused, Ok(()), "a short one still fits");
    assert_eq!(entered(&mut tree, 2), count);
    assert!(tree.remove(&filters[0], &1));
    assert_eq!(tree.insert(&filters[0], 1, subscription(Qos::AtMostOnce)), Ok(()));
    let again = tree.insert(&filters[0], 1, subscription(Qos::AtLeastOnce));
    assert_eq!(again, Ok(()), "it is there already");
    tree.remove_all(&1);
    assert_eq!(entered(&mut tree, 1), count);
}

#[test]
fn a_topic_that_nobody_wants_allocates_nothing() {
    let mut tree = Subscriptions::new();
    tree.insert("plant/+/state", 1, subscription(Qos::AtMostOnce)).unwrap();
    let allocations = allocation_counter::measure(|| {
        tree.for_each_match("plant/press/telemetry", None, |_, _| panic!("nobody"));
    });
    assert_eq!(allocations.count_total, 0);
}

fn levels(pattern: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec(pattern, 1..4).prop_map(|levels| levels.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_tree_finds_what_plain_matching_finds(
        steps in prop::collection::vec((levels("[ab$]?|\\+"), any::<bool>(), 0..3_u8, 0..8_u8), 0..20),
        topics in prop::collection::vec(levels("[ab$]?"), 1..10),
    ) {
        let mut tree = Subscriptions::new();
        let mut plain = BTreeMap::new();
        for (filter, hash, key, kind) in steps {
            let filter = if hash { format!("{filter}/#") } else { filter };
            match kind {
                0 => {
                    tree.remove_all(&key);
                    plain.retain(|(other, _), _| *other != key);
                }
                1..3 => {
                    let removed = plain.remove(&(key, filter.clone())).is_some();
                    assert_eq!(tree.remove(&filter, &key), removed);
                }
                _ if topic::check_filter(&filter).is_ok() => {
                    let qos = if kind % 2 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
                    tree.insert(&filter, key, subscription(qos)).unwrap();
                    plain.insert((key, filter), qos);
                }
                _ => {}
            }
        }
        assert_eq!(tree.is_empty(), plain.is_empty());
        for topic in topics.iter().filter(|topic| topic::check_name(topic).is_ok()) {
            let mut expected = BTreeMap::new();
            for ((key, filter), qos) in &plain {
                if topic::matches(filter, topic) {
                    let highest = expected.entry(*key).or_insert(*qos);
                    *highest = (*highest).max(*qos);
                }
            }
            let found: BTreeMap<_, _> =
                matches(&tree, topic, None).into_iter().map(|(key, qos, ..)| (key, qos)).collect();
            assert_eq!(found, expected, "{topic}");
        }
        for key in 0..3 {
            tree.remove_all(&key);
        }
        assert!(tree.is_empty() && tree.tree.is_empty());
    }
}
