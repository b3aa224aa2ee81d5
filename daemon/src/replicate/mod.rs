//! From the log to Kafka: which events leave, as what records, and how far each lane has come.

pub mod account;
pub mod aside;
pub mod costs;
pub mod drive;
mod envelope;
pub mod evidence;
pub mod feed;
mod judge;
pub mod lane;
pub mod letter;
mod mapping;
pub mod report;
pub mod table;
mod table_formats;
pub mod traffic;
