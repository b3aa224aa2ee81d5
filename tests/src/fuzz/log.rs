//! What the log holds, and what is asked on the control socket.

use tributary::config::Config;
use tributary::io::control::Request;
use tributary::replicate::account::Account;
use tributary::replicate::table::{Table, Wanted};
use tributary::runtime::hint::LaneHint;
use tributary_core::Offset;
use tributary_core::log::BODY_BYTES_MAX;
use tributary_core::record;
use tributary_core::time::Timestamp;

use super::rules::OBJECTS;
use super::{Target, event, texts};

pub(super) const RECORDS: Target = Target { name: "records", feed: feed_records, good: records };
pub(super) const CONTROLS: Target = Target { name: "controls", feed: feed_control, good: controls };
pub(super) const QUESTIONS: Target =
    Target { name: "questions", feed: feed_question, good: || texts(&ASKED) };

const ASKED: [&str; 3] = [
    r#"{"ask":"status"}"#,
    r#"{"ask":"tail","filter":"a/+/#","from":7,"count":null,"until_end":true}"#,
    r#"{"ask":"tail","filter":null,"from":null,"count":3,"until_end":false}"#,
];

fn records() -> Vec<Vec<u8>> {
    let one = |payload: &&str| {
        let event = event(payload.as_bytes());
        let mut bytes = vec![0; record::encoded_len(&event, event.time)];
        record::encode(&event, event.time, &mut bytes);
        bytes.repeat(2)
    };
    OBJECTS.iter().map(one).collect()
}

fn feed_records(bytes: &[u8]) {
    assert!(bytes.len() < BODY_BYTES_MAX);
    let mut rest = bytes;
    while let Some(event) = record::decode(&mut rest, Timestamp(i64::MAX)) {
        // Properties are read by walking them.
        assert!(event.properties.iter().count() <= bytes.len());
    }
}

fn controls() -> Vec<Vec<u8>> {
    let config = "[upstream]\nbrokers = [\"127.0.0.1:1\"]\n[[route]]\nfrom = \"a/+\"\ntopic = \"t\"\nwhere = \"v > 1\"\n";
    let config = Config::parse(config).unwrap_or_else(|list| panic!("{list:?}"));
    let wanted = Wanted::compile(&config.routes, true).expect("it compiles");
    let table = Table::none().succeed(&wanted, Offset(7), Offset(0));
    let mut good = texts(&["b=1f;1.2.3.4;a.0.0.ff;", ""]);
    good.push(table.encode());
    good
}

fn feed_control(bytes: &[u8]) {
    if let Ok(table) = Table::decode(bytes) {
        assert!(Table::decode(&table.encode()).is_ok());
    }
    if let Some(hint) = LaneHint::decode(bytes) {
        assert_eq!(LaneHint::decode(&hint.encode(hint.hint.high)), Some(hint));
    }
    let text = String::from_utf8_lossy(bytes);
    if let Some(account) = Account::parse(&text) {
        assert_eq!(Account::parse(&account.to_string()), Some(account));
    }
}

fn feed_question(bytes: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(bytes) {
        let text = serde_json::to_string(&request).expect("a question is JSON");
        assert_eq!(serde_json::from_str::<Request>(&text).ok(), Some(request));
    }
}
