//! `tributary bench mqtt`: counts what a broker acknowledges and delivers, at each quality of service.

use core::time::Duration;
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::Value;
use tributary_tests::daemon::Daemon;
use tributary_tests::wait;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const PATIENCE: Duration = Duration::from_secs(20);
const SUBSCRIBERS: f64 = 3.0;

/// What it says of a second of load.
fn bench(qos: &str, subscribers: &str) -> Result<(Daemon, Value)> {
    let daemon = Daemon::start(TRIBUTARY, "")?;
    let mut command = Command::new(TRIBUTARY);
    command.args(["bench", "mqtt", "--json", "--seconds", "1", "--connections", "2"]);
    command.args(["--window", "5", "--qos", qos, "--subscribers", subscribers]);
    let output = command.arg("--address").arg(format!("127.0.0.1:{}", daemon.port())).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {errors}", output.status);
    Ok((daemon, serde_json::from_slice(&output.stdout)?))
}

#[test]
fn counts_what_is_acknowledged() -> Result<()> {
    for qos in ["0", "1", "2"] {
        let (daemon, told) = bench(qos, "0")?;
        let total = told["total"].as_u64();
        ensure!(total > Some(0), "QoS {qos}: {told}");
        // At QoS 0 the last of them may become durable only now.
        wait::until(&format!("{total:?} events in the log"), PATIENCE, || {
            Ok((daemon.status()?["log"]["durable"].as_u64() >= total).then_some(()))
        })?;
        ensure!(told["delivered_per_second"] == 0.0, "{told}");
    }
    Ok(())
}

#[test]
fn counts_what_subscribers_get() -> Result<()> {
    for qos in ["0", "1"] {
        let (_, told) = bench(qos, "3")?;
        let number = |name: &str| told[name].as_f64().unwrap_or_default();
        let (published, delivered) = (number("per_second"), number("delivered_per_second"));
        // No more is on its way than the window allows, a second long.
        let spread = (delivered - SUBSCRIBERS * published).abs();
        ensure!(delivered > 0.0 && spread <= SUBSCRIBERS * 20.0, "QoS {qos}: {told}");
    }
    Ok(())
}
