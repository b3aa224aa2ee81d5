//! The closed set of requests that are answered, and of their answers.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, ApiKey, ApiVersionsRequest, ApiVersionsResponse,
    CreateTopicsRequest, CreateTopicsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    EndTxnRequest, EndTxnResponse, FetchRequest, FetchResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, InitProducerIdRequest, InitProducerIdResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, ProduceRequest, ProduceResponse,
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::Head;

/// One variant for each pair of messages, and what is the same for all of them.
macro_rules! messages {
    ($($name:ident: $request:ident => $response:ident),* $(,)?) => {
        /// A request, decoded.
        #[derive(Clone, Debug)]
        pub(crate) enum Request {
            $($name($request),)*
            /// `ApiVersions` in a version that is not offered.
            UnknownApiVersions,
        }

        /// A response, to be encoded.
        #[derive(Clone, Debug)]
        pub(crate) enum Response {
            $($name($response),)*
            /// The answer to [`Request::UnknownApiVersions`].
            UnknownApiVersions(ApiVersionsResponse),
        }

        impl Request {
            pub(super) fn decode(head: Head, body: &mut Bytes) -> Option<Self> {
                match head.api {
                    $(ApiKey::$name => {
                        $request::decode(body, head.version).ok().map(Self::$name)
                    })*
                    _ => None,
                }
            }
        }

        impl Response {
            /// Fails where a field is set that `version` does not have.
            pub(super) fn encode(&self, version: i16, bytes: &mut BytesMut) -> Option<()> {
                match self {
                    $(Self::$name(response) => response.encode(bytes, version).ok(),)*
                    Self::UnknownApiVersions(response) => response.encode(bytes, version).ok(),
                }
            }
        }

        $(impl From<$response> for Response {
            fn from(response: $response) -> Self {
                Self::$name(response)
            }
        })*
    };
}

messages! {
    Produce: ProduceRequest => ProduceResponse,
    Fetch: FetchRequest => FetchResponse,
    ListOffsets: ListOffsetsRequest => ListOffsetsResponse,
    Metadata: MetadataRequest => MetadataResponse,
    OffsetCommit: OffsetCommitRequest => OffsetCommitResponse,
    OffsetFetch: OffsetFetchRequest => OffsetFetchResponse,
    FindCoordinator: FindCoordinatorRequest => FindCoordinatorResponse,
    ApiVersions: ApiVersionsRequest => ApiVersionsResponse,
    CreateTopics: CreateTopicsRequest => CreateTopicsResponse,
    InitProducerId: InitProducerIdRequest => InitProducerIdResponse,
    AddPartitionsToTxn: AddPartitionsToTxnRequest => AddPartitionsToTxnResponse,
    AddOffsetsToTxn: AddOffsetsToTxnRequest => AddOffsetsToTxnResponse,
    EndTxn: EndTxnRequest => EndTxnResponse,
    TxnOffsetCommit: TxnOffsetCommitRequest => TxnOffsetCommitResponse,
    DescribeConfigs: DescribeConfigsRequest => DescribeConfigsResponse,
    SaslHandshake: SaslHandshakeRequest => SaslHandshakeResponse,
    SaslAuthenticate: SaslAuthenticateRequest => SaslAuthenticateResponse,
}
