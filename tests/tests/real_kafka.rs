//! The main job on real input: devices → gateway → Kafka, with nothing going wrong.

use core::fmt::Write as _;
use std::fs::File;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tributary_tests::real::expect::Expectation;
use tributary_tests::real::fleet::{Fleet, Plan};
use tributary_tests::real::kafka::Setup;
use tributary_tests::real::world::{ALWAYS, World};
use tributary_tests::real::{cache, process, readings};

const DIR: &str = env!("CARGO_TARGET_TMPDIR");

/// All readings three times: by `mosquitto_pub`, by paho, by rumqttc.
fn delivers_all(setup: Setup) -> Result<()> {
    World::test(DIR, "plain", setup, |world| {
        let port = world.gateway.port();
        let by_mosquitto = world.path("mosquitto.tsv");
        publish_with_mosquitto(world, 1).context("mosquitto_pub")?;

        let by_paho = world.path("paho.tsv");
        let mut paho = cache::python("publish.py");
        paho.args(["--port", &port.to_string(), "--first-round", "2", "--rounds", "1", "--out"]);
        process::output({
            paho.arg(&by_paho);
            paho
        })?;

        let by_rumqttc = world.path("rumqttc.tsv");
        let devices = readings::devices()?;
        let plan =
            Plan { devices, first_round: 3, rounds: Some(1), take: usize::MAX, rate: 20_000 };
        Fleet::start(port, &plan).finish(&by_rumqttc)?;

        let expectation = Expectation::default()
            .sent(by_mosquitto)
            .sent(by_paho)
            .sent(by_rumqttc)
            .route("hot", &[(1, ALWAYS, "temp > 70")])
            .route("all", &[(1, ALWAYS, "")]);
        world.check(&expectation)?;
        world.gateway.stop()
    })
}

/// A round of all readings, a `mosquitto_pub` per device. It ends well only when all it sent was
/// acknowledged, and sends nothing again as long as its connection holds.
fn publish_with_mosquitto(world: &World, round: u32) -> Result<()> {
    let mut children = Vec::new();
    let mut record = String::new();
    for device in readings::devices()? {
        let lines = world.path(&format!("{}.lines", device.name));
        let mut text = String::new();
        for reading in &*device.readings {
            text += &device.payload(round, reading);
            text.push('\n');
            writeln!(record, "{}\t{round}\t{}\t1\t1", device.name, reading.seq)?;
        }
        std::fs::write(&lines, text)?;
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &world.gateway.port().to_string(), "-q", "1", "-l"]);
        command.args(["-i", &format!("mosquitto-{}", device.name), "-t", &device.topic()]);
        children.push(command.stdin(File::open(lines)?).spawn()?);
    }
    for mut child in children {
        let status = child.wait()?;
        ensure!(status.success(), "{status}");
    }
    std::fs::write(world.path("mosquitto.tsv"), record)?;
    Ok(())
}

tributary_tests::on_each_cluster! {
    delivers_all
}
