//! Records that no batch may hold: a transaction passes them as it does those that Kafka refuses.

use std::sync::Arc;

use super::encode::OpenBatch;
use super::{BatchBuilder, Record};
use crate::output::Undeliverable;
use crate::wire::Code;

impl BatchBuilder {
    /// Leaves out a record that was answered [`super::PushError::TooLarge`]: it counts as one of the batch, and when that
    /// is handed in, [`crate::Output::Bury`] names it. Whether a record is too large depends on nothing else than the
    /// record and the settings.
    ///
    /// # Panics
    ///
    /// If its topic is not known.
    pub fn leave_out(&mut self, record: &Record<'_>) {
        let known = self.origin.topics.binary_search_by(|(name, _)| (**name).cmp(record.topic));
        let (topic, partitions) = &self.origin.topics[known.expect("a push has found it")];
        let partition = self.partition(record, *partitions);
        let bytes = OpenBatch::new(record, Vec::new()).size_of(record, None).bytes();
        let (code, most) = (Code::TOO_LARGE, self.limits.batch_bytes);
        self.left_out.push(Undeliverable {
            offset: record.offset,
            route: record.route,
            topic: Arc::clone(topic),
            partition: i32::try_from(partition).expect("below PARTITIONS_MAX"),
            error: format!("{code}: not sent: it has {bytes} bytes, and a batch at most {most}"),
        });
        self.reserved = self.reserved.saturating_sub(1);
        self.records += 1;
    }

    /// What was left out so far.
    #[must_use]
    pub fn left_out(&self) -> &[Undeliverable] {
        &self.left_out
    }
}
