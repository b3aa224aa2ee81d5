//! Bytes and text that nobody wrote in good faith: an error or a safe run, never a panic.

use crate::common::event;
use proptest::prelude::*;
use tributary_rules::{
    Fault, Scratch, Set, Source, VerifyError, check_key, check_predicate, compile,
};

const SOURCES: [Source<'_>; 3] = [
    Source {
        where_: Some("a.b[1] > 70 AND status IN ('ok', s, 'x') OR NOT (t BETWEEN 1 AND 2.5)"),
        key: Some("coalesce(id, topic(2)) || '-' || lower(s) || upper(s || t)"),
    },
    Source { where_: Some("contains(payload(), s) AND qos() < 2 AND retained()"), key: None },
    Source {
        where_: Some("abs(t) + -t * 3 / u % 7 - floor(t) <= round(u) AND length(s) = 2"),
        key: Some("a"),
    },
];

const PAYLOADS: [&[u8]; 4] = [
    br#"{"a":{"b":[1,71]},"status":"o\u006b","s":"ok","t":-2.5,"u":3,"id":12345678901234567890}"#,
    br#"{"a":[[[[]]]],"a":{"b":{}},"s":"\ud83d\ude00","t":1e300,"u":0}"#,
    b"[1,2",
    b"\xff\xfe",
];

/// Runs everything in the set over every payload, if it is one.
fn run(bytes: &[u8]) -> Result<(), VerifyError> {
    let set = Set::verify(bytes)?;
    let (mut scratch, mut out) = (Scratch::new(), [0; 64]);
    for payload in PAYLOADS {
        let event = event(payload);
        let mut evaluation = set.evaluate(&event, &mut scratch);
        for route in 0..set.len() {
            let first =
                (evaluation.test(route), evaluation.key(route, &mut out).map(<[u8]>::to_vec));
            let again =
                (evaluation.test(route), evaluation.key(route, &mut out).map(<[u8]>::to_vec));
            assert_eq!(first, again, "nothing that a program does depends on what ran before");
        }
    }
    for route in 0..set.len() {
        assert!(set.listing(route).to_string().len() < 1 << 20);
    }
    Ok(())
}

#[test]
fn cut_sets_are_refused() {
    let bytes = compile(&SOURCES).unwrap();
    assert_eq!(run(&bytes), Ok(()));
    for len in 0..bytes.len() {
        assert_eq!(run(&bytes[..len]), Err(VerifyError::Length), "{len}");
    }
    let mut newer = bytes.clone();
    newer[0] = 2;
    assert_eq!(run(&newer), Err(VerifyError::Version(2)));
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(run(&longer), Err(VerifyError::Length));
}

/// Each rule of the verifier, broken by the bytes of one instruction.
#[test]
fn unsafe_programs_are_refused() {
    let bytes = compile(&[Source { where_: Some("a AND b"), key: None }]).unwrap();
    let listing = Set::verify(&bytes).unwrap().listing(0).to_string();
    let lines = ["where", "r0 = a", "if r0 is false go to 3", "r0 = r0 AND b", "return r0"];
    for (found, expected) in listing.lines().zip(lines) {
        assert!(found.ends_with(expected), "{listing}");
    }
    // No constants, and of text only the names of the two fields, stand behind the programs.
    let first = bytes.len() - "ab".len() - 4 * 8;
    for (instruction, byte, value, fault) in [
        (1, 6, 4, Fault::Jump),
        (1, 6, 1, Fault::Jump),
        (1, 6, 0, Fault::Jump),
        (1, 2, 7, Fault::Unwritten),
        (2, 5, 0, Fault::Unwritten),
        // Written on the way past the jump, but not on the way of the jump.
        (3, 2, 1, Fault::Unwritten),
        (2, 2, 32, Fault::Range),
        (2, 5, 0x80, Fault::Range),
        (0, 2, 2, Fault::Range),
        (0, 2, 5, Fault::Range),
        (0, 0, 200, Fault::Unknown),
        (0, 1, 32, Fault::Unknown),
        (0, 4, 1, Fault::Unknown),
        (2, 6, 3, Fault::Unknown),
        (2, 0, 0, Fault::Unknown),
        (3, 0, 1, Fault::End),
    ] {
        let mut bytes = bytes.clone();
        bytes[first + instruction * 8 + byte] = value;
        if (instruction, byte) == (3, 2) {
            bytes[first + 2 * 8 + 1] = 1;
        }
        if (instruction, byte, value) == (0, 2, 5) {
            bytes[first + 3] = 0xC0;
        }
        let index = u32::try_from(instruction).unwrap();
        let found = run(&bytes);
        assert_eq!(found, Err(VerifyError::Instruction(index, fault)), "byte {byte} = {value}");
    }
}

/// Every bit of a set, turned: most changes are found, the rest run safely.
#[test]
fn every_flipped_bit_is_found_or_harmless() {
    let bytes = compile(&SOURCES).unwrap();
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        refused += usize::from(run(&bytes).is_err());
    }
    assert!(refused * 2 > bytes.len() * 8, "{refused} of {} bits", bytes.len() * 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(run(&bytes).is_err(), "a header that fits by chance");
    }

    #[test]
    fn mutated_sets_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = compile(&SOURCES).unwrap();
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        if let Err(error) = run(&bytes) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        well_placed(&text)?;
    }

    #[test]
    fn arbitrary_tokens_never_panic(tokens in proptest::collection::vec(token(), 0..40)) {
        well_placed(&tokens.join(" "))?;
    }
}

/// An error lies inside the text; what is accepted also compiles.
fn well_placed(text: &str) -> Result<(), TestCaseError> {
    for result in [check_predicate(text), check_key(text)] {
        if let Err(error) = result {
            prop_assert!(text.get(error.span.clone()).is_some(), "{text}: {error:?}");
            prop_assert!(
                !error.span.is_empty() || error.span.start == text.len() || error.code == "R006"
            );
        }
    }
    if let Ok(bytes) = compile(&[Source { where_: None, key: Some(text) }]) {
        prop_assert_eq!(run(&bytes), Ok(()));
    }
    Ok(())
}

fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "b.c",
        "d[1]",
        "\"x\"",
        "1",
        "2.5",
        "'t'",
        "''",
        "(",
        ")",
        "(",
        ")",
        ",",
        "+",
        "-",
        "*",
        "/",
        "%",
        "||",
        "=",
        "<>",
        "<",
        ">=",
        "AND",
        "OR",
        "NOT",
        "IN",
        "IS",
        "NULL",
        "BETWEEN",
        "TRUE",
        "topic(",
        "coalesce(",
        "lower(",
        "qos()",
        "contains(",
        ".",
        "[",
        "]",
        "--",
        "9223372036854775808",
    ])
}
