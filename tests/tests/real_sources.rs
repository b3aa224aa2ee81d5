//! `[[source]]` beside the broker that plants have: Mosquitto, which keeps what it has no PUBACK for. The
//! daemon is killed, and so is Mosquitto.

use core::time::Duration;

use anyhow::{Result, ensure};
use tributary_tests::authority::Authority;
use tributary_tests::daemon::Daemon;
use tributary_tests::device::Device;
use tributary_tests::real::mosquitto::Mosquitto;
use tributary_tests::source::{all, await_all, await_connection, await_source, readings};
use tributary_tests::{ports, scratch, wait};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const MESSAGES: usize = 400;
const KILLS: usize = 5;

fn nothing_is_lost(url: &str, more: &str, mut mosquitto: Mosquitto) -> Result<()> {
    let mut random = scratch::random("Mosquitto and kills")?;
    let sections = format!(
        "[[source]]\nurl = \"{url}\"\nname = \"hall\"\nprefix = \"hall/\"\ntopics = [\"plant/#\"]\n{more}"
    );
    let mut daemon = Daemon::start(TRIBUTARY, &sections)?;
    await_connection(&daemon)?;
    // The daemon is killed again and again while devices publish to Mosquitto.
    let device = Device::start(mosquitto.port(), "plant/1", readings(MESSAGES));
    for kill in 1..=KILLS {
        device.wait_for(MESSAGES * kill / (KILLS + 1))?;
        wait::pass(Duration::from_millis(random.u64(..30)));
        daemon.kill()?;
        daemon.restart()?;
    }
    device.finish()?;
    await_all(&daemon, "hall/plant/1", &readings(MESSAGES))?;
    // What was under way at a kill may have come in before: once more for each.
    let found = all(&daemon, "hall/plant/1")?;
    let most = readings(MESSAGES)
        .iter()
        .map(|one| found.iter().filter(|other| *other == one).count())
        .max();
    ensure!(most <= Some(KILLS + 1), "a message came {most:?} times");
    // It is away; Mosquitto keeps what comes for it, and is killed itself.
    daemon.kill()?;
    Device::publish(mosquitto.port(), "plant/2", readings(MESSAGES))?;
    mosquitto.save()?;
    mosquitto.kill()?;
    mosquitto.restart()?;
    daemon.restart()?;
    await_all(&daemon, "hall/plant/2", &readings(MESSAGES))?;
    // Mosquitto is killed while the daemon is there, with a session to come back to.
    await_source(&daemon, |source| source["received"].as_u64() >= Some(MESSAGES as u64))?;
    mosquitto.save()?;
    mosquitto.kill()?;
    await_source(&daemon, |source| source["connected"] == false)?;
    mosquitto.restart()?;
    let source = await_source(&daemon, |source| source["connected"] == true)?;
    ensure!(source["connects"].as_u64() >= Some(2), "{source}");
    Device::publish(mosquitto.port(), "plant/3", readings(MESSAGES))?;
    await_all(&daemon, "hall/plant/3", &readings(MESSAGES))?;
    // What came twice in this run is what the daemon says may have.
    let doubled: usize = ["hall/plant/2", "hall/plant/3"]
        .map(|topic| all(&daemon, topic).map(|found| found.len() - MESSAGES))
        .into_iter()
        .sum::<Result<_>>()?;
    let source = await_source(&daemon, |_| true)?;
    ensure!(Some(doubled as u64) <= source["repeated"].as_u64(), "{doubled} came twice: {source}");
    ensure!(source["refused"] == 0, "{source}");
    Ok(())
}

#[test]
fn over_mqtt_5() -> Result<()> {
    let mosquitto = Mosquitto::start(None)?;
    nothing_is_lost(&format!("mqtt://127.0.0.1:{}", mosquitto.port()), "", mosquitto)
}

#[test]
fn over_mqtt_3() -> Result<()> {
    let mosquitto = Mosquitto::start(None)?;
    let url = format!("mqtt://127.0.0.1:{}", mosquitto.port());
    nothing_is_lost(&url, "protocol = \"3.1.1\"\n", mosquitto)
}

#[test]
fn over_tls() -> Result<()> {
    let authority = Authority::new()?;
    let pair = authority.server("mosquitto", "localhost")?;
    let port = ports::free()?;
    let mosquitto = Mosquitto::start(Some((port, &pair)))?;
    let tls = format!("tls = {{ ca = \"{}\" }}\n", authority.cert().display());
    nothing_is_lost(&format!("mqtts://localhost:{port}"), &tls, mosquitto)
}
