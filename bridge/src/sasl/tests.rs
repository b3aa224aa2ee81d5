//! The vectors of the RFCs, and what hostile brokers answer.

use super::*;

/// RFC 7677, section 3.
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                     p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SIGNATURE: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

/// Computed by Python's `hashlib` and `hmac`.
const SHA_512_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                             p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN\
                             8PPC6wdp6dybEmDYXYTxwnYPJQ==";
const SHA_512_SIGNATURE: &str = "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifD\
                                 SeVGT4+5ZxXnJq199RVG2rR7N7Zw==";

fn user_by(hash: Hash, nonce: &str) -> Credentials {
    Credentials::Scram {
        hash,
        username: "user".to_owned(),
        password: "pencil".into(),
        nonce: nonce.to_owned(),
    }
}

fn begun(credentials: &Credentials) -> (Exchange, String) {
    let (exchange, first) = Exchange::begin(credentials).expect("usable");
    (exchange, text(first))
}

fn text(bytes: SecretBytes) -> String {
    String::from_utf8(bytes.0).expect("messages are text")
}

fn sent(next: Result<Next, SaslError>) -> String {
    match next {
        Ok(Next::Send(bytes)) => text(bytes),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_vector_of_rfc_7677() {
    let (mut exchange, first) = begun(&user_by(Hash::Sha256, NONCE));
    assert_eq!(first, format!("n,,n=user,r={NONCE}"));
    assert_eq!(sent(exchange.handle(CHALLENGE.as_bytes())), FINAL);
    assert!(matches!(exchange.handle(SIGNATURE.as_bytes()), Ok(Next::Done)));
}

/// The exchange of RFC 7677 with the other hash function.
#[test]
fn the_same_exchange_with_sha_512() {
    let (mut exchange, _) = begun(&user_by(Hash::Sha512, NONCE));
    assert_eq!(sent(exchange.handle(CHALLENGE.as_bytes())), SHA_512_FINAL);
    assert!(matches!(exchange.handle(SHA_512_SIGNATURE.as_bytes()), Ok(Next::Done)));
}

#[test]
fn a_broker_that_does_not_know_the_password_is_found_out() {
    for wrong in ["v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", "v=", "v=AAAA", "v=6rri"] {
        let (mut exchange, _) = begun(&user_by(Hash::Sha256, NONCE));
        sent(exchange.handle(CHALLENGE.as_bytes()));
        let found = exchange.handle(wrong.as_bytes());
        assert!(
            matches!(found, Err(SaslError::WrongSignature | SaslError::Malformed(_))),
            "{wrong}: {found:?}"
        );
    }
}

#[test]
fn the_work_that_a_broker_may_ask_for_is_bounded() {
    let asking = |count: &str| {
        let (mut exchange, _) = begun(&user_by(Hash::Sha256, NONCE));
        exchange.handle(format!("r={NONCE}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i={count}").as_bytes())
    };
    assert!(matches!(asking("4096"), Ok(Next::Send(_))));
    for (count, found) in [("4095", 4_095), ("200001", 200_001), ("4294967295", u32::MAX)] {
        assert_eq!(asking(count).err(), Some(SaslError::Iterations(found)));
    }
    for count in ["", "-1", "4294967296", "0x1000"] {
        assert!(matches!(asking(count), Err(SaslError::Malformed(_))), "{count}");
    }
}

#[test]
fn hostile_messages_are_refused() {
    let long = "x".repeat(5_000);
    let nonce = format!("r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    let other = "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let no_salt = format!("r={NONCE}x,s=,i=4096");
    let no_base64 = format!("r={NONCE}x,s=!,i=4096");
    let extension = format!("m=new,{CHALLENGE}");
    for answer in ["", "r=", &long, &nonce, other, &no_salt, &no_base64, &extension, SIGNATURE] {
        let (mut exchange, _) = begun(&user_by(Hash::Sha256, NONCE));
        let found = exchange.handle(answer.as_bytes());
        assert!(matches!(found, Err(SaslError::Malformed(_))), "{answer}: {found:?}");
    }
    let (mut exchange, _) = begun(&user_by(Hash::Sha256, NONCE));
    let refused = exchange.handle(b"e=unknown-user").err();
    assert_eq!(refused, Some(SaslError::Refused("unknown-user".to_owned())));
}

/// Every change of one byte, and every shorter one, of both of the broker's messages.
#[test]
fn damaged_messages_end_an_exchange_but_not_the_process() {
    for (at, _) in CHALLENGE.bytes().enumerate().step_by(3) {
        for byte in [0, b',', b'=', 0xff, b'9'] {
            let mut answer = CHALLENGE.as_bytes().to_vec();
            answer[at] = byte;
            let (mut exchange, _) = begun(&user_by(Hash::Sha256, NONCE));
            if let Ok(Next::Send(_)) = exchange.handle(&answer) {
                let ended = exchange.handle(SIGNATURE.as_bytes());
                assert!(answer == CHALLENGE.as_bytes() || ended.is_err(), "{at} {byte}");
            }
        }
        let (mut exchange, _) = begun(&user_by(Hash::Sha256, NONCE));
        assert!(exchange.handle(&CHALLENGE.as_bytes()[..at]).is_err(), "{at}");
    }
    for at in 0..SIGNATURE.len() {
        let (mut exchange, _) = begun(&user_by(Hash::Sha256, NONCE));
        sent(exchange.handle(CHALLENGE.as_bytes()));
        assert!(exchange.handle(&SIGNATURE.as_bytes()[..at]).is_err(), "{at}");
    }
}

#[test]
fn names_are_escaped_and_checked() {
    let named = |username: &str| {
        Exchange::begin(&Credentials::Scram {
            hash: Hash::Sha512,
            username: username.to_owned(),
            password: "x".into(),
            nonce: "n".to_owned(),
        })
    };
    let (_, first) = named("a=b,c").expect("usable");
    assert_eq!(text(first), "n,,n=a=3Db=2Cc,r=n");
    assert!(named("").is_err());
    let nonce = Credentials::Scram {
        hash: Hash::Sha256,
        username: "u".to_owned(),
        password: "x".into(),
        nonce: "a,b".to_owned(),
    };
    assert!(Exchange::begin(&nonce).is_err());
}

#[test]
fn plain_is_name_and_password() {
    let plain = |username: &str, password: &str| Credentials::Plain {
        username: username.to_owned(),
        password: password.into(),
    };
    let (mut exchange, first) = begun(&plain("gw", "pa,ss=word"));
    assert_eq!(first, "\0gw\0pa,ss=word");
    assert!(matches!(exchange.handle(b""), Ok(Next::Done)));
    for (username, password) in [("", "x"), ("a\0b", "x"), ("a", "x\0")] {
        assert!(Exchange::begin(&plain(username, password)).is_err());
    }
}

#[test]
fn a_token_travels_with_its_extensions() {
    let token = |token: &str, extensions: &[(&str, &str)]| Credentials::OauthBearer {
        token: token.into(),
        extensions: extensions.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
    };
    let extensions = [("logicalCluster", "lkc-1"), ("identityPoolId", "pool-a")];
    let (mut exchange, first) = begun(&token("ab.cd.ef", &extensions));
    assert_eq!(
        first,
        "n,,\u{1}auth=Bearer ab.cd.ef\u{1}logicalCluster=lkc-1\u{1}identityPoolId=pool-a\u{1}\u{1}"
    );
    assert!(matches!(exchange.handle(b""), Ok(Next::Done)));

    let (mut exchange, _) = begun(&token("x", &[]));
    let answer = sent(exchange.handle(br#"{"status":"invalid_token"}"#));
    assert_eq!(answer, "\u{1}");
    assert_eq!(exchange.reason(), Some(r#"{"status":"invalid_token"}"#));
    assert!(matches!(exchange.handle(b""), Err(SaslError::Refused(_))));

    let unusable = [
        token("", &[]),
        token("a b", &[]),
        token("a\u{1}auth=Bearer b", &[]),
        token("x", &[("auth", "y")]),
        token("x", &[("a=b", "y")]),
        token("x", &[("a", "y\u{1}b=c")]),
    ];
    for credentials in unusable {
        assert!(Exchange::begin(&credentials).is_err());
    }
}

#[test]
fn secrets_are_in_no_debug_output() {
    let all = [
        Credentials::Plain { username: "gw".to_owned(), password: "pencil".into() },
        user_by(Hash::Sha256, NONCE),
        Credentials::OauthBearer { token: "pencil".into(), extensions: Vec::new() },
    ];
    for credentials in all {
        let (exchange, first) = Exchange::begin(&credentials).expect("usable");
        let shown = format!("{credentials:?} {exchange:?} {first:?} {}", credentials.subject());
        assert!(!shown.contains("pencil"), "{shown}");
    }
}
