//! A Kafka cluster as a value.
