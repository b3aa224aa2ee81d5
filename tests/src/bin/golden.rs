//! Writes the golden images of the format's present version: run once for each version.
//!
//! `cargo run -p tributary-tests --bin golden -- DIR` writes them below a directory; what is in
//! them is for `tributary log export --controls` to say and for a person to judge before it becomes
//! `expected.ndjson`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tributary_tests::golden::{IMAGES, Scribe, save};

fn main() -> Result<()> {
    let dir = std::env::args().nth(1).map(PathBuf::from).context("a directory to write to")?;
    for (name, geometry, make) in IMAGES {
        let mut scribe = Scribe::new(geometry, 0x601D);
        make(&mut scribe).with_context(|| format!("the image {name}"))?;
        save(&scribe.disk, &dir.join(name))?;
    }
    Ok(())
}
