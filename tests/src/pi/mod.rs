//! The virtual Raspberry Pi: the real daemon on a real arm64 kernel, with ext4 on a virtio disk, under
//! QEMU. `tests/pi/setup` fetches what it boots.
//!
//! Two ways to lose power. [`kills`]: the machine is killed at a random moment while it acknowledges,
//! and boots again. [`cuts`]: everything that the machine writes to its disk is recorded, with its
//! flushes; from the record every disk can be made that a power cut could have left. What was
//! acknowledged must be there either way, and with [`unsynced`] it must not be.

pub mod cuts;
pub mod disk;
pub mod judge;
pub mod kills;
pub mod machine;
pub mod publisher;
pub mod recording;
pub mod unsynced;

mod archive;
mod culprit;
