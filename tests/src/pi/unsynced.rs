//! The daemon without `fdatasync`: the same binary, in which that system call answers at once that all
//! is well. Whoever finds nothing wrong with it finds nothing.

use anyhow::{Result, ensure};

/// `mov w8, #83` and `mov x8, #83`: the number of the call, see Linux's `asm-generic/unistd.h`.
const FDATASYNC: [u32; 2] = [0x5280_0a68, 0xd280_0a68];
/// `svc #0`: asks the kernel.
const ASK: u32 = 0xd400_0001;
/// `mov x0, #0`: what the kernel answers when all is well.
const ALL_IS_WELL: u32 = 0xd280_0000;
/// Instructions between number and call.
const DISTANCE_MAX: usize = 8;

/// The binary with every `fdatasync` of its own taken out.
///
/// # Errors
/// There is none in it.
pub fn without_fdatasync(binary: &[u8]) -> Result<Vec<u8>> {
    let mut words: Vec<u32> = binary
        .chunks(4)
        .map(|chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            u32::from_le_bytes(word)
        })
        .collect();
    let mut calls = 0;
    for at in 0..words.len() {
        if !FDATASYNC.contains(&words[at]) {
            continue;
        }
        let behind = words.iter_mut().skip(at + 1).take(DISTANCE_MAX);
        if let Some(call) = behind.into_iter().find(|word| **word == ASK) {
            *call = ALL_IS_WELL;
            calls += 1;
        }
    }
    ensure!(calls > 0, "no fdatasync found in the binary");
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(binary.len());
    Ok(bytes)
}
