//! An event to judge, and the shortest way from an expression to an answer.

use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::Timestamp;
use tributary_rules::{Scratch, Set, Source, Truth, Why, compile};

pub(crate) const TRUE: Truth = Truth::True;
pub(crate) const FALSE: Truth = Truth::False;
pub(crate) const NULL: Truth = Truth::Null(Why::NONE);

/// An event of the device p1.
pub(crate) fn event(payload: &[u8]) -> Event<'_> {
    Event {
        topic: "plant/p1/telemetry",
        payload,
        client: "c1",
        time: Timestamp(0),
        qos: Qos::AtLeastOnce,
        retain: false,
        origin: Origin::Device,
        packet_id: None,
        properties: Properties::default(),
    }
}

/// The set of one route.
pub(crate) fn set(source: Source<'_>) -> Set<Vec<u8>> {
    let bytes = compile(&[source]).unwrap_or_else(|error| panic!("{source:?}: {error}"));
    Set::verify(bytes).unwrap_or_else(|error| panic!("{source:?}: {error}"))
}

/// What a `where` says of a payload.
pub(crate) fn test(expression: &str, payload: impl AsRef<[u8]>) -> Truth {
    let set = set(Source { where_: Some(expression), key: None });
    set.evaluate(&event(payload.as_ref()), &mut Scratch::new()).test(0)
}

/// What a `key` makes of a payload.
pub(crate) fn key(expression: &str, payload: impl AsRef<[u8]>) -> Result<String, Why> {
    let set = set(Source { where_: None, key: Some(expression) });
    let mut out = [0; 256];
    let (event, mut scratch) = (event(payload.as_ref()), Scratch::new());
    let key = set.evaluate(&event, &mut scratch).key(0, &mut out)?;
    Ok(String::from_utf8(key.to_vec()).expect("keys are text"))
}
