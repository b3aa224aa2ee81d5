//! Compiles the rule, and puts the linker's script where it looks for it.

use std::path::PathBuf;
use std::{env, fs};

use tributary_rules::{Source, compile};

/// What the firmware filters by.
const RULE: &str = "temperature > 70";
/// RAM with the rules, most of it their scratch, and of the log alone.
const RAM_WITH_RULES: &str = "16K";
const RAM_ALONE: &str = "4K";

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let program = compile(&[Source { where_: Some(RULE), key: None }])?;
    fs::write(out.join("program.bin"), program)?;
    let with_rules = env::var_os("CARGO_FEATURE_RULES").is_some();
    let ram = if with_rules { RAM_WITH_RULES } else { RAM_ALONE };
    let script = fs::read_to_string("memory.template")?.replace("RAM_LENGTH", ram);
    fs::write(out.join("memory.x"), script)?;
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rerun-if-changed=memory.template");
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
