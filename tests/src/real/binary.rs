//! The binary under test: built as it is released, without `demo`, unless `TRIBUTARY_BIN` names one.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};

use super::process;

/// The variable that may name it.
pub const NAMED: &str = "TRIBUTARY_BIN";

/// Its path; built on the first call.
///
/// # Errors
/// It does not build.
pub fn path() -> Result<PathBuf> {
    static PATH: OnceLock<core::result::Result<PathBuf, String>> = OnceLock::new();
    let path = PATH.get_or_init(|| find().map_err(|error| format!("{error:#}")));
    path.clone().map_err(|error| anyhow!(error))
}

fn find() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(NAMED) {
        return Ok(path.into());
    }
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--release", "--locked", "-p", "tributary", "--bin", "tributary"]);
    build.arg("--message-format=json-render-diagnostics");
    build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let messages = process::output(build)?;
    let executable = messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executable.context("cargo names no executable")
}
