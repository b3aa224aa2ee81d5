//! From bytes to requests and from responses to bytes. What does not decode closes the connection,
//! as a broker does.

mod requests;
mod shape;
mod versions;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;

pub(crate) use requests::{Request, Response};
pub(crate) use versions::{all as all_offered, offered};

use crate::Kafka;
use crate::limits::REQUEST_BYTES_MAX;

/// What is known of a request before its body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    correlation: i32,
}

/// The peer does not speak the protocol: the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Takes one frame, without its length, from the front of what has arrived.
pub(crate) fn take_frame(input: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
    let Some(mut length) = input.get(..4) else { return Ok(None) };
    let length = usize::try_from(length.get_i32()).map_err(|_| Malformed)?;
    if length > REQUEST_BYTES_MAX {
        return Err(Malformed);
    }
    if input.len() - 4 < length {
        return Ok(None);
    }
    input.advance(4);
    Ok(Some(input.split_to(length).freeze()))
}

/// Reads a frame. A version of `ApiVersions` that is not offered is a request still, for the client
/// must be able to learn which are (KIP-511).
pub(crate) fn decode(mut frame: Bytes, kafka: Kafka) -> Result<(Head, Request), Malformed> {
    let head = decode_head(&mut frame)?;
    let versions = offered(kafka, head.api).ok_or(Malformed)?;
    if !versions.contains(&head.version) {
        let asks_versions = head.api == ApiKey::ApiVersions;
        return if asks_versions {
            Ok((head, Request::UnknownApiVersions))
        } else {
            Err(Malformed)
        };
    }
    skip_client(&mut frame, head)?;
    let body = shape::of(head.api).ok_or(Malformed)?;
    shape::check(&frame, body, head.version).ok_or(Malformed)?;
    let request = Request::decode(head, &mut frame).ok_or(Malformed)?;
    Ok((head, request))
}

/// Makes the frame that answers `head`.
///
/// # Panics
/// If a field of the response is set that its version does not have.
pub(crate) fn encode(head: Head, response: &Response) -> Bytes {
    // An unknown version of ApiVersions is answered in version 0.
    let version =
        if matches!(response, Response::UnknownApiVersions(_)) { 0 } else { head.version };
    let mut bytes = BytesMut::new();
    bytes.put_i32(0);
    bytes.put_i32(head.correlation);
    if head.api.response_header_version(version) > 0 {
        bytes.put_u8(0);
    }
    response.encode(version, &mut bytes).expect("fields are set for the versions that have them");
    let length = i32::try_from(bytes.len() - 4).expect("FETCH_BYTES_MAX is far below 2 GiB");
    (&mut bytes[..4]).put_i32(length);
    bytes.freeze()
}

fn decode_head(frame: &mut Bytes) -> Result<Head, Malformed> {
    if frame.len() < 8 {
        return Err(Malformed);
    }
    let api = ApiKey::try_from(frame.get_i16()).map_err(|()| Malformed)?;
    Ok(Head { api, version: frame.get_i16(), correlation: frame.get_i32() })
}

/// Skips the client's name and, in flexible versions, the tagged fields of the header.
fn skip_client(frame: &mut Bytes, head: Head) -> Result<(), Malformed> {
    let length = frame.try_get_i16().map_err(|_| Malformed)?;
    let length = usize::try_from(length).unwrap_or(0);
    if frame.len() < length {
        return Err(Malformed);
    }
    frame.advance(length);
    if head.api.request_header_version(head.version) >= 2 {
        let used = shape::tagged_bytes(frame).ok_or(Malformed)?;
        frame.advance(used);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
