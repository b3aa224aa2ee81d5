//! A NOR flash that loses power: strict about its contract, and as unkind as it allows.
//!
//! A word may be programmed once between two erases, also one that an interrupted program only may
//! have touched. A cut during a program leaves each of its words written, blank, with some of its
//! bits, or weak: another value at every reading; all on their own, or nearly all written, so that
//! what was cut looks whole. A cut during an erase leaves each word erased, as it was, or random. All
//! of it follows from one seed.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

pub(crate) const WORD: usize = 4;
pub(crate) const SECTOR: usize = if cfg!(miri) { 1024 } else { 4096 };
const ERASED: u8 = 0xFF;

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SimError {
    NoPower,
    /// The device reports that a program or an erase failed; what is there now is not known.
    Failed,
}

impl NorFlashError for SimError {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Erased,
    Programmed,
    /// Reads otherwise every time.
    Weak,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) reads: u64,
    pub(crate) read_bytes: u64,
    pub(crate) programs: u64,
    pub(crate) erases: u64,
}

#[derive(Clone)]
pub(crate) struct Sim {
    bytes: Vec<u8>,
    words: Vec<Word>,
    random: u64,
    operations: u64,
    cut_at: Option<u64>,
    fail_at: Option<u64>,
    power: bool,
    /// Whether words that were cut may read otherwise every time.
    pub(crate) weak: bool,
    pub(crate) done: Done,
}

impl Sim {
    pub(crate) fn new(sectors: usize, seed: u64) -> Self {
        Self {
            bytes: vec![ERASED; sectors * SECTOR],
            words: vec![Word::Erased; sectors * SECTOR / WORD],
            random: seed.wrapping_mul(2).wrapping_add(1),
            operations: 0,
            cut_at: None,
            fail_at: None,
            power: true,
            weak: true,
            done: Done::default(),
        }
    }

    /// The power goes during the `operations`th program or erase from now on, counted from 0.
    pub(crate) fn cut_after(&mut self, operations: u64) {
        self.cut_at = Some(self.operations + operations);
    }

    pub(crate) fn fail_after(&mut self, operations: u64) {
        self.fail_at = Some(self.operations + operations);
    }

    pub(crate) fn is_down(&self) -> bool {
        !self.power
    }

    pub(crate) fn restore(&mut self) {
        (self.power, self.cut_at, self.fail_at) = (true, None, None);
    }

    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    /// What is stored.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Damages a byte behind the log's back.
    pub(crate) fn flip(&mut self, at: usize) {
        self.bytes[at] ^= 0x10;
    }

    pub(crate) fn number(&mut self) -> u64 {
        // xorshift64*
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// Counts an operation: whether it is done, cut, or fails.
    fn operate(&mut self) -> Result<(), SimError> {
        if !self.power {
            return Err(SimError::NoPower);
        }
        let number = self.operations;
        self.operations += 1;
        if self.cut_at == Some(number) {
            self.power = false;
            return Err(SimError::NoPower);
        }
        if self.fail_at == Some(number) {
            return Err(SimError::Failed);
        }
        Ok(())
    }

    /// What is left of a program that was cut.
    fn tear(&mut self, word: usize, bytes: &[u8]) {
        let words = bytes.len() / WORD;
        let few = self.number().is_multiple_of(2);
        let odd = usize::try_from(self.number() % (words as u64 + 1)).expect("one of few");
        for (index, wanted) in bytes.chunks_exact(WORD).enumerate() {
            let kind = match self.number() % 4 {
                _ if few && index != odd => 0,
                3 if !self.weak => 2,
                kind => kind,
            };
            self.tear_word(word + index, wanted, kind);
        }
    }

    fn tear_word(&mut self, word: usize, wanted: &[u8], kind: u64) {
        let place = word * WORD..(word + 1) * WORD;
        let noise = self.number().to_le_bytes();
        // Whatever became of it: it must not be programmed again before an erase.
        self.words[word] = Word::Programmed;
        match kind {
            0 => self.bytes[place].copy_from_slice(wanted),
            1 => {}
            2 => {
                for (byte, (wanted, noise)) in
                    self.bytes[place].iter_mut().zip(wanted.iter().zip(noise))
                {
                    *byte &= wanted | noise;
                }
            }
            _ => {
                self.words[word] = Word::Weak;
                self.bytes[place].copy_from_slice(wanted);
            }
        }
    }
}

impl ErrorType for Sim {
    type Error = SimError;
}

impl ReadNorFlash for Sim {
    const READ_SIZE: usize = WORD;

    fn read(&mut self, offset: u32, into: &mut [u8]) -> Result<(), SimError> {
        let begin = offset as usize;
        assert!(begin.is_multiple_of(WORD) && into.len().is_multiple_of(WORD), "whole words");
        if !self.power {
            return Err(SimError::NoPower);
        }
        self.done.reads += 1;
        self.done.read_bytes += into.len() as u64;
        into.copy_from_slice(&self.bytes[begin..begin + into.len()]);
        for (index, word) in into.chunks_mut(WORD).enumerate() {
            if self.words[begin / WORD + index] == Word::Weak && self.number().is_multiple_of(2) {
                let noise = self.number().to_le_bytes();
                word.iter_mut().zip(noise).for_each(|(byte, noise)| *byte |= noise);
            }
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for Sim {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), SimError> {
        let (from, to) = (from as usize, to as usize);
        assert!(from.is_multiple_of(SECTOR) && to.is_multiple_of(SECTOR), "whole sectors");
        let had_power = self.power;
        let done = self.operate();
        self.done.erases += 1;
        for word in from / WORD..to / WORD {
            let place = word * WORD..(word + 1) * WORD;
            if done.is_ok() {
                self.words[word] = Word::Erased;
                self.bytes[place].fill(ERASED);
            } else if had_power {
                self.words[word] = Word::Programmed;
                let noise = self.number().to_le_bytes();
                match self.number() % 3 {
                    0 => self.bytes[place].fill(ERASED),
                    1 => {}
                    _ => self.bytes[place].copy_from_slice(&noise[..WORD]),
                }
            }
        }
        done
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), SimError> {
        let begin = offset as usize;
        assert!(begin.is_multiple_of(WORD) && bytes.len().is_multiple_of(WORD), "whole words");
        let had_power = self.power;
        let done = self.operate();
        self.done.programs += 1;
        for (index, wanted) in bytes.chunks_exact(WORD).enumerate() {
            let word = begin / WORD + index;
            assert!(
                !had_power || self.words[word] == Word::Erased,
                "word {word} is programmed twice"
            );
            if done.is_ok() {
                self.words[word] = Word::Programmed;
                self.bytes[word * WORD..(word + 1) * WORD].copy_from_slice(wanted);
            }
        }
        if done.is_err() && had_power {
            self.tear(begin / WORD, bytes);
        }
        done
    }
}
