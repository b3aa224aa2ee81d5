//! Requests and answers as frames: a length of four bytes, a header, a body.
//!
//! The correlation id is compared before the body is looked at: what answers something else is not
//! decoded.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::{Request, StrBytes, encode_request_header_into_buffer};

use super::{Api, Malformed, shape};
use crate::limits::FRAME_BYTES_MAX;

/// The body of an answer, and the version in which it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) api: Api,
    pub(crate) version: i16,
    pub(crate) body: Bytes,
    /// For how long the broker will not look at the connection (KIP-219).
    pub(crate) throttle_ms: u32,
}

/// Encodes a request.
pub(crate) fn encode<R: Request>(
    version: i16,
    correlation: i32,
    client: &StrBytes,
    request: &R,
) -> Bytes {
    const WHY: &str = "every field has a place in the versions that are sent";
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(client.clone()));
    let body = request.compute_size(version).expect(WHY);
    let mut frame = BytesMut::with_capacity(body + client.len() + 32);
    frame.put_i32(0);
    encode_request_header_into_buffer(&mut frame, &header).expect(WHY);
    request.encode(&mut frame, version).expect(WHY);
    let length = i32::try_from(frame.len() - 4).expect("limited by the size of a transaction");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

/// Takes the first complete frame from what was received.
pub(crate) fn take_frame(received: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
    let Some(length) = received.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| Malformed)?;
    if !(4..=FRAME_BYTES_MAX).contains(&length) {
        return Err(Malformed);
    }
    if received.len() < 4 + length {
        return Ok(None);
    }
    received.advance(4);
    Ok(Some(received.split_to(length).freeze()))
}

impl Reply {
    /// Opens a frame as the answer to the request `correlation`.
    pub(crate) fn open(
        mut frame: Bytes,
        api: Api,
        version: i16,
        correlation: i32,
    ) -> Result<Self, Malformed> {
        let answered = frame.first_chunk::<4>().ok_or(Malformed)?;
        if i32::from_be_bytes(*answered) != correlation {
            return Err(Malformed);
        }
        frame.advance(4);
        // An answer to `ApiVersions` has the old header in every version (KIP-511).
        if version >= api.flexible_since() && api != Api::ApiVersions {
            let rest = shape::after_tags(&frame)?.len();
            frame.advance(frame.len() - rest);
        }
        let throttle_ms = shape::throttle_ms(api, version, &frame);
        Ok(Self { api, version, body: frame, throttle_ms })
    }
}
