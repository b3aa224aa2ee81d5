//! A test on a disk or in a network of its own, in a namespace of Linux, so that nobody needs to be root: the test's
//! program is run once more there, with this test alone.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::binary;

/// Tells a test that it runs in its namespace, and names a file that it makes: a name that no test has would run none,
/// and nothing would fail.
const INSIDE: &str = "TRIBUTARY_IN_NAMESPACE";
/// Mounts the disk where temporary files lie, and goes on there.
const MOUNT: &str = r#"mount -t tmpfs -o "size=$1" tmpfs "$TMPDIR" && shift && exec "$@""#;
/// A network in which there is nothing but this machine.
const LOOPBACK: &str = r#"PATH=$PATH:/usr/sbin ip link set lo up && exec "$@""#;

/// Runs a test on a disk of `size`, as `mount` takes it: all that is temporary lies there. `name` is the test's, whole.
///
/// # Errors
/// The test's own; there is no `unshare` (util-linux), or it is not allowed.
pub fn on_a_disk_of(size: &str, name: &str, test: impl FnOnce() -> Result<()>) -> Result<()> {
    if is_inside()? {
        return test();
    }
    let dir = tempfile::tempdir()?;
    let arguments = ["--mount", "sh", "-c", MOUNT, "sh", size];
    again(&arguments, name, &[("TMPDIR", dir.path().as_os_str())])
        .with_context(|| format!("on a disk of {size}"))
}

/// Runs a test in a network of its own, which [`filter`] can disturb. `name` is the test's, whole.
///
/// # Errors
/// The test's own; there is no `unshare` (util-linux) or `ip` (iproute2), or it is not allowed.
pub fn in_a_network(name: &str, test: impl FnOnce() -> Result<()>) -> Result<()> {
    if is_inside()? {
        return test();
    }
    again(&["--net", "sh", "-c", LOOPBACK, "sh"], name, &[]).context("in a network of its own")
}

/// Lets the packets of a network be treated by `rules`, in the language of nftables, and by none that were there before.
///
/// # Errors
/// There is no `nft`, or it refuses.
pub fn filter(rules: &str) -> Result<()> {
    let chain = "chain input { type filter hook input priority 0; ";
    let script = format!("flush ruleset\ntable inet tests {{\n {chain}{rules}\n }}\n}}\n");
    // Debian has it where only administrators look.
    let mut nft = Command::new("/usr/sbin/nft");
    nft.arg(&script);
    super::process::output(nft).map(drop)
}

fn is_inside() -> Result<bool> {
    let begun = env::var_os(INSIDE);
    if let Some(begun) = &begun {
        File::create(begun)?;
    }
    Ok(begun.is_some())
}

fn again(arguments: &[&str], name: &str, variables: &[(&str, &OsStr)]) -> Result<()> {
    let outside = tempfile::tempdir()?;
    let begun = outside.path().join("begun");
    let status = Command::new("unshare")
        .arg("--map-root-user")
        .args(arguments)
        .arg(env::current_exe()?)
        .args(["--exact", name, "--nocapture"])
        .envs(variables.iter().copied())
        // What is built outside is not built again inside.
        .env(binary::NAMED, binary::path()?)
        .env(INSIDE, &begun)
        .stdin(Stdio::null())
        .status()
        .context("unshare, of util-linux")?;
    ensure!(status.success(), "{name}: {status}");
    ensure!(begun.exists(), "there is no test {name}");
    Ok(())
}
