//! NOR flash in RAM that a reset leaves alone: words of four bytes, programmed once between two
//! erases, and reset in the middle of it.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

use crate::witness;

const WORD_BYTES: usize = 4;
const SECTOR_BYTES: usize = 4096;
const SECTORS: usize = 16;
const WORDS: usize = SECTORS * SECTOR_BYTES / WORD_BYTES;
const ERASED: u32 = u32::MAX;

#[unsafe(link_section = ".nor.words")]
static FLASH: [AtomicU32; WORDS] = [const { AtomicU32::new(ERASED) }; WORDS];
/// A bit for each word: it must not be programmed before an erase.
#[unsafe(link_section = ".nor.used")]
static USED: [AtomicU32; WORDS / 32] = [const { AtomicU32::new(0) }; WORDS / 32];

/// The flash.
pub(crate) struct RamNor(());

/// This flash does not fail; it is cut.
#[derive(Debug)]
pub(crate) enum Never {}

impl NorFlashError for Never {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl RamNor {
    /// As the last reset left it; blank at the first start.
    pub(crate) fn after_reset() -> Self {
        if witness::is_new() {
            FLASH.iter().for_each(|word| word.store(ERASED, Relaxed));
            USED.iter().for_each(|bits| bits.store(0, Relaxed));
        }
        Self(())
    }
}

fn use_word(word: usize) {
    let (bits, bit) = (&USED[word / 32], 1 << (word % 32));
    let before = bits.load(Relaxed);
    assert!(before & bit == 0, "a word is programmed once");
    bits.store(before | bit, Relaxed);
}

impl ErrorType for RamNor {
    type Error = Never;
}

impl ReadNorFlash for RamNor {
    const READ_SIZE: usize = WORD_BYTES;

    fn read(&mut self, offset: u32, into: &mut [u8]) -> Result<(), Never> {
        let words = &FLASH[offset as usize / WORD_BYTES..];
        for (word, bytes) in words.iter().zip(into.chunks_mut(WORD_BYTES)) {
            bytes.copy_from_slice(&word.load(Relaxed).to_le_bytes()[..bytes.len()]);
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        WORDS * WORD_BYTES
    }
}

impl NorFlash for RamNor {
    const WRITE_SIZE: usize = WORD_BYTES;
    const ERASE_SIZE: usize = SECTOR_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Never> {
        let words = from as usize / WORD_BYTES..to as usize / WORD_BYTES;
        USED[words.start / 32..words.end / 32]
            .iter()
            .for_each(|bits| bits.store(u32::MAX, Relaxed));
        for word in &FLASH[words.clone()] {
            if witness::is_cut() {
                word.store(witness::number(), Relaxed);
                witness::reset();
            }
            word.store(ERASED, Relaxed);
        }
        USED[words.start / 32..words.end / 32].iter().for_each(|bits| bits.store(0, Relaxed));
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Never> {
        let begin = offset as usize / WORD_BYTES;
        (begin..begin + bytes.len() / WORD_BYTES).for_each(use_word);
        for (word, bytes) in FLASH[begin..].iter().zip(bytes.chunks_exact(WORD_BYTES)) {
            let wanted = bytes.try_into().map_or(ERASED, u32::from_le_bytes);
            if witness::is_cut() {
                // Some of the bits that were to be cleared are.
                word.store(wanted | witness::number(), Relaxed);
                witness::reset();
            }
            word.store(wanted, Relaxed);
        }
        Ok(())
    }
}
