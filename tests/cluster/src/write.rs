//! What other producers write, without the way there.

use bytes::BytesMut;
use kafka_protocol::error::ResponseError as Error;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use crate::ReadRecord;
use crate::cluster::State;
use crate::log::{Append, parse_produced};

/// Appends records as one batch of a producer without transactions; their offsets are the partition's.
pub(crate) fn write(
    state: &mut State,
    (topic, partition): (&str, i32),
    records: &[ReadRecord],
) -> Result<i64, Error> {
    let name = |bytes: &bytes::Bytes| StrBytes::from_utf8(bytes.clone()).ok();
    let record = |(offset, record): (i64, &ReadRecord)| {
        let headers = record.headers.iter().map(|(header, value)| {
            name(header).map(|header| (header, value.clone())).ok_or(Error::InvalidRecord)
        });
        Ok(Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            offset,
            // Without a producer there is none; the encoder takes for one batch what is numbered on.
            sequence: i32::try_from(offset).unwrap_or(0) - 1,
            timestamp: record.timestamp.0,
            key: record.key.clone(),
            value: record.value.clone(),
            headers: headers.collect::<Result<_, Error>>()?,
        })
    };
    let records: Vec<Record> = (0..).zip(records).map(record).collect::<Result<_, Error>>()?;
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &options).map_err(|_| Error::InvalidRecord)?;
    let how = Append {
        wall: state.wall(),
        log_append_time: state.topic(topic)?.settings.log_append_time,
        from_zero: false,
    };
    let batch = parse_produced(&bytes.freeze())?;
    let appended = state.partition_mut(topic, partition)?.append(batch, how)?;
    state.changed(appended.bytes);
    Ok(appended.base_offset)
}
