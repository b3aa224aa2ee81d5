//! A door as a value.

use super::*;
use crate::config::{ClientIds, Listener, Origins};

/// A listener on loopback that lets everybody in.
pub(crate) fn listener() -> Listener {
    Listener {
        address: (core::net::Ipv4Addr::LOCALHOST, 1883).into(),
        tls: None,
        websocket: false,
        origins: Origins::Any,
        proxy_protocol: false,
        users: None,
        acl: None,
        anonymous: true,
        client_ids: ClientIds::Any,
        connections_max: 100,
        per_address_max: 100,
        connect_timeout: core::time::Duration::from_secs(10),
        keep_alive_max_s: 0,
    }
}

/// The rules of a listener, with the text of its password file and that of its access list.
pub(crate) fn rules(listener: &Listener, (users, acl): (Option<&str>, Option<&str>)) -> Rules {
    let users = users.map(|text| Mutex::new(Users::parse(text).expect("it is sound")));
    let acl = acl.map(|text| acl::Acl::parse(text).expect("it is sound"));
    Rules { listener: listener.clone(), tls: None, users, acl }
}

/// Its door.
pub(crate) fn door(listener: &Listener, files: (Option<&str>, Option<&str>)) -> Arc<Door> {
    Door::new(rules(listener, files), Verifier::new()).expect("there are random numbers")
}

#[test]
fn a_network_of_ipv6_counts_as_one_address() {
    let door = door(&Listener { per_address_max: 1, ..listener() }, (None, None));
    let place = |text: &str| door.place(text.parse().expect("an address"));
    let first = place("fd00::1");
    assert!(first.is_some() && place("fd00::2").is_none());
    let other = [place("fd00:0:0:1::1"), place("10.0.0.1"), place("10.0.0.2")];
    assert!(other.iter().all(Option::is_some));
    drop(first);
    assert!(place("fd00::2").is_some());
    drop(other);
    assert!(lock(&door.addresses).is_empty());
}
