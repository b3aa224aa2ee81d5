//! Judging an event allocates nothing, whatever the expression and the payload.

use crate::common::event;
use tributary_rules::{Scratch, Set, Source, compile};

#[test]
fn no_allocation_per_event() {
    let sources = [
        Source {
            where_: Some("temperature > 70 AND status = 'ok' AND battery < 3.7"),
            key: Some("topic(2) || '-' || lower(status) || '-' || battery * 2"),
        },
        Source {
            where_: Some("contains(name, 'x') OR length(name) > 5 OR a[1].b IN (1, 2)"),
            key: None,
        },
    ];
    let set = Set::verify(compile(&sources).unwrap()).unwrap();
    let payloads: [&[u8]; 3] = [
        br#"{"temperature":71.25,"status":"o\u006b","battery":3.5,"name":"\u0078y","a":[0,{"b":2}]}"#,
        br#"{"temperature":"hot","skipped":{"deep":[[[{"x":1e5}]]]}}"#,
        b"not json",
    ];
    let (mut scratch, mut out) = (Scratch::new(), [0; 64]);
    let mut passed = 0;
    let counted = allocation_counter::measure(|| {
        for payload in payloads {
            let event = event(payload);
            let mut evaluation = set.evaluate(&event, &mut scratch);
            for route in 0..set.len() {
                passed += usize::from(evaluation.test(route).passes());
                passed += usize::from(evaluation.key(route, &mut out).is_ok());
            }
        }
    });
    assert_eq!((counted.count_total, passed), (0, 3));
    let compiling = allocation_counter::measure(|| assert!(compile(&sources).is_ok()));
    assert!(compiling.count_total > 0, "the counter counts");
}
