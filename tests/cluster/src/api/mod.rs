//! What a broker answers: one function for each request, on the state of the cluster.

mod admin;
mod fetch;
mod metadata;
mod offsets;
mod produce;
mod transactions;

use kafka_protocol::error::ResponseError as Error;
use kafka_protocol::protocol::StrBytes;
use tributary_core::time::Instant;

use crate::BrokerId;
use crate::cluster::State;
use crate::wire::{Request, Response};

/// Where, in which version and when a request came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) broker: BrokerId,
    pub(crate) version: i16,
    /// When it was first looked at. It may be looked at again later.
    pub(crate) arrived: Instant,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answer(Response),
    /// Done; the protocol has no answer to it (`acks=0`).
    Silent,
    /// The broker closes the connection.
    Close,
    /// Look again when the state has changed, or at this time.
    Wait(Instant),
}

impl<R: Into<Response>> From<R> for Outcome {
    fn from(response: R) -> Self {
        Self::Answer(response.into())
    }
}

/// Applies a request.
pub(crate) fn handle(state: &mut State, ask: Ask, request: &Request) -> Outcome {
    match request {
        Request::Produce(request) => produce::produce(state, ask, request),
        Request::Fetch(request) => fetch::fetch(state, ask, request),
        Request::ListOffsets(request) => fetch::list_offsets(state, ask, request).into(),
        Request::Metadata(request) => metadata::metadata(state, ask, request).into(),
        Request::OffsetCommit(request) => offsets::commit(state, ask, request).into(),
        Request::OffsetFetch(request) => offsets::fetch(state, ask, request).into(),
        Request::FindCoordinator(request) => metadata::find_coordinator(state, ask, request).into(),
        Request::ApiVersions(request) => metadata::api_versions(state, ask, request).into(),
        Request::CreateTopics(request) => admin::create_topics(state, ask, request).into(),
        Request::InitProducerId(request) => {
            transactions::init_producer_id(state, ask, request).into()
        }
        Request::AddPartitionsToTxn(request) => {
            transactions::add_partitions(state, ask, request).into()
        }
        Request::AddOffsetsToTxn(request) => transactions::add_offsets(state, ask, request).into(),
        Request::EndTxn(request) => transactions::end(state, ask, request).into(),
        Request::TxnOffsetCommit(request) => offsets::commit_in_transaction(state, ask, request),
        Request::DescribeConfigs(request) => admin::describe_configs(state, request).into(),
        Request::SaslHandshake(_) | Request::SaslAuthenticate(_) => {
            unreachable!("a matter between the connection and the users")
        }
        Request::UnknownApiVersions => {
            Outcome::Answer(Response::UnknownApiVersions(metadata::unknown_api_versions(state)))
        }
    }
}

/// The error code of a result; 0 for none.
fn code<T>(result: &Result<T, Error>) -> i16 {
    result.as_ref().err().map_or(0, Error::code)
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
