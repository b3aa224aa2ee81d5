//! The memory of the one who checks: a reset leaves it alone, as it would a machine at the other end
//! of a wire.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use cortex_m::peripheral::SCB;
use tributary_core::Offset;

/// Whether the memory was ever set up.
const MARK: u32 = 0x5EED_1E55;
/// Words that are programmed between two resets, at most.
const WORDS_MAX: u32 = 4_000;

#[unsafe(link_section = ".nor.witness")]
static MEMORY: [AtomicU32; 5] = [const { AtomicU32::new(0) }; 5];

const MARKED: usize = 0;
const COUNT: usize = 1;
const ACKNOWLEDGED: usize = 2;
const RANDOM: usize = 3;
const WORDS_LEFT: usize = 4;

/// Whether this is the first start: sets up the memory then.
pub(crate) fn is_new() -> bool {
    if MEMORY[MARKED].load(Relaxed) == MARK {
        return false;
    }
    for (cell, value) in MEMORY.iter().zip([MARK, 0, 0, 0x2545_F491, u32::MAX]) {
        cell.store(value, Relaxed);
    }
    true
}

/// Resets so far.
pub(crate) fn resets() -> u32 {
    MEMORY[COUNT].load(Relaxed)
}

/// Everything below is acknowledged.
pub(crate) fn acknowledge(end: Offset) {
    MEMORY[ACKNOWLEDGED].store(u32::try_from(end.0).unwrap_or(u32::MAX), Relaxed);
}

/// How many events are acknowledged.
pub(crate) fn acknowledged() -> u32 {
    MEMORY[ACKNOWLEDGED].load(Relaxed)
}

/// A random number: xorshift32.
pub(crate) fn number() -> u32 {
    let mut number = MEMORY[RANDOM].load(Relaxed);
    number ^= number << 13;
    number ^= number >> 17;
    number ^= number << 5;
    MEMORY[RANDOM].store(number, Relaxed);
    number
}

/// The machine is reset after some more words.
pub(crate) fn plan_reset() {
    MEMORY[WORDS_LEFT].store(1 + number() % WORDS_MAX, Relaxed);
}

/// A word is about to be programmed or erased: whether the reset comes now.
pub(crate) fn is_cut() -> bool {
    let left = MEMORY[WORDS_LEFT].load(Relaxed);
    if left != u32::MAX {
        MEMORY[WORDS_LEFT].store(left - 1, Relaxed);
    }
    left == 0
}

/// The reset. Half of the next starts are cut short, too: in the middle of what they recover.
pub(crate) fn reset() -> ! {
    MEMORY[COUNT].store(resets() + 1, Relaxed);
    let short = number().is_multiple_of(2);
    let left = if short { number() % 200 } else { u32::MAX };
    MEMORY[WORDS_LEFT].store(left, Relaxed);
    SCB::sys_reset()
}
