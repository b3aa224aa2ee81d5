//! Logs that earlier versions wrote are read as they were, and can be gone on with.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use tributary_tests::golden::{self, IMAGES, Scribe, VERSION};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
/// What an event that is appended afterwards has in its line.
const NEW_EVENTS: u32 = 3;

fn export(dir: &Path) -> Result<String> {
    let Output { status, stdout, stderr } = Command::new(TRIBUTARY)
        .args(["log", "export", "--controls", "--json", "--dir"])
        .arg(dir)
        .output()?;
    ensure!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    Ok(String::from_utf8(stdout)?)
}

#[test]
fn every_image_is_read_as_it_was() -> Result<()> {
    let images = golden::all()?;
    ensure!(images.len() >= IMAGES.len(), "{} images are there", images.len());
    for image in images {
        let expected = fs::read_to_string(image.join("expected.ndjson"))?;
        ensure!(!expected.is_empty(), "{}: nothing is expected", image.display());
        ensure!(export(&image)? == expected, "{} reads otherwise", image.display());
    }
    Ok(())
}

#[test]
fn this_version_still_writes_what_the_images_hold() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for (name, geometry, make) in IMAGES {
        let mut scribe = Scribe::new(geometry, 0x601D);
        make(&mut scribe).with_context(|| format!("the image {name}"))?;
        let made = dir.path().join(name);
        golden::save(&scribe.disk, &made)?;
        let kept = golden::folder(VERSION, name);
        for entry in fs::read_dir(&kept)? {
            let path = entry?.path();
            let file = path.file_name().context("a file has a name")?;
            if path.extension().is_some_and(|extension| extension == "seg") {
                let same = fs::read(&path)? == fs::read(made.join(file))?;
                ensure!(
                    same,
                    "{name}: {} is written otherwise: if its bytes mean something else now, the \
                     format has a new version",
                    file.display()
                );
            }
        }
    }
    Ok(())
}

#[test]
fn every_image_can_be_gone_on_with() -> Result<()> {
    for image in golden::all()? {
        let disk = golden::load(&image)?;
        let mut scribe = Scribe::on(disk);
        for _ in 0..2 {
            scribe.open()?;
            scribe.events(NEW_EVENTS)?;
            scribe.commit()?;
        }
        let dir = tempfile::tempdir()?;
        golden::save(&scribe.disk, dir.path())?;
        let events = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.contains(r#""topic":"#));
            lines.map(str::to_owned).collect()
        };
        let before = events(&fs::read_to_string(image.join("expected.ndjson"))?);
        let after = events(&export(dir.path())?);
        let added = 2 * NEW_EVENTS as usize;
        let kept = after.len().checked_sub(added).context("the new events are there")?;
        ensure!(before == after[..kept], "{}: earlier events differ", image.display());
    }
    Ok(())
}
