//! Which write was it? Says of an event that is lost on a disk after a power cut what would have saved it.

use std::path::Path;

use anyhow::Result;

use super::disk::{self, SEGMENTS};
use super::judge;
use super::publisher::payload;
use super::recording::{Piece, Replay};

const BLOCK_BYTES: usize = 4096;

/// In a sentence.
pub(super) fn name(replay: &Replay<'_>, lost: &[Piece], event: u64, dir: &Path) -> Result<String> {
    for &piece in lost {
        let others: Vec<Piece> = lost.iter().copied().filter(|other| *other != piece).collect();
        if is_there(replay, &others, event, dir)? {
            return Ok(format!("lost with {}", describe(replay, piece, &dir.join("disk"))?));
        }
    }
    if is_there(replay, &[], event, dir)? {
        return Ok(format!("lost with several of {} writes together", lost.len()));
    }
    let bytes = payload(event);
    let written = replay.disk_without(&[]).windows(bytes.len()).any(|window| window == bytes);
    Ok(if written {
        "its bytes are on the disk, but recovery does not find them".into()
    } else {
        "nothing that the machine wrote by then holds it".into()
    })
}

fn is_there(replay: &Replay<'_>, lost: &[Piece], event: u64, dir: &Path) -> Result<bool> {
    let image = dir.join("disk");
    std::fs::write(&image, replay.disk_without(lost))?;
    disk::replay_journal(&image)?;
    disk::take_log(&image, &dir.join("log"))?;
    Ok(judge::read(&dir.join("log")).is_ok_and(|found| found.numbers.contains(&event)))
}

fn describe(replay: &Replay<'_>, piece: Piece, image: &Path) -> Result<String> {
    let place = replay.place(piece);
    let what = format!("write {}, bytes {}..{} of the disk", piece.entry, place.start, place.end);
    for index in 0..SEGMENTS {
        let name = format!("input-{index:05}.seg");
        let blocks = disk::blocks(image, &name)?;
        let block = (place.start / BLOCK_BYTES) as u64;
        if let Some(nth) = blocks.iter().position(|of_file| *of_file == block) {
            let at = nth * BLOCK_BYTES + place.start % BLOCK_BYTES;
            return Ok(format!("{what}: {name} from byte {at}"));
        }
    }
    Ok(format!("{what}: no part of the log's files"))
}
