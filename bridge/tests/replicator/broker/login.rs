//! How the scripted broker lets clients in: PLAIN, with one password.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::Broker;

const WHY: &str = "an answer of this version";
/// Name and password that are let in.
pub(crate) const GOOD: &[u8] = b"\0gw\0pencil";

pub(super) fn handshake(bytes: &mut Bytes, code: i16, out: &mut BytesMut) -> String {
    let request = SaslHandshakeRequest::decode(bytes, 1).expect("a handshake");
    SaslHandshakeResponse::default()
        .with_error_code(code)
        .with_mechanisms(vec![StrBytes::from_static_str("GSSAPI")])
        .encode(out, 1)
        .expect(WHY);
    format!(" {}", request.mechanism)
}

impl Broker {
    pub(super) fn authenticate(
        &self,
        version: i16,
        bytes: &mut Bytes,
        code: i16,
        out: &mut BytesMut,
    ) -> String {
        let request = SaslAuthenticateRequest::decode(bytes, version).expect("a message");
        let good = request.auth_bytes == GOOD;
        let mut response = SaslAuthenticateResponse::default()
            .with_error_code(if good { code } else { 58 })
            .with_session_lifetime_ms(self.lifetime_ms);
        if !good {
            let words = StrBytes::from_static_str("invalid credentials");
            response = response.with_error_message(Some(words));
        }
        response.encode(out, version).expect(WHY);
        String::new()
    }
}
