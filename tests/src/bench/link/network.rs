//! A network of its own behind an emulated link: what runs in it reaches Kafka over that alone.
//!
//! The link is `tests/real/link.py`, between two TUN devices: real TCP meets rate, delay, loss and a
//! queue. Devices publish over another way, which costs the link nothing.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::process::{self, Process};
use crate::real::cache;
use crate::{ports, wait};

/// Where Kafka is, at the far end.
const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The other way, for devices.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
const DEVICES_MAX: Duration = Duration::from_secs(10);
/// What most machines use, whatever this one does.
const CONGESTION: &str = "congctl cubic";

/// How a link is, in both directions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quality {
    /// Bits a second.
    pub(super) rate: u32,
    /// Milliseconds each way.
    pub(super) delay_ms: u32,
    /// Packets lost, of a hundred.
    pub(super) loss_percent: u32,
    /// Bytes that wait for the link before what follows is dropped.
    pub(super) queue_bytes: u32,
}

/// There can be one at a time: the addresses are always the same.
const NAME: &str = "tributary-bench";
const NEAR_DEVICE: &str = "trb-near";
const FAR_DEVICE: &str = "trb-far";
const OUTSIDE_DEVICE: &str = "trb-outside";

/// The network and its link; both are there until it is dropped.
pub(super) struct Network {
    link: Option<Process>,
}

impl Network {
    /// Makes it, in place of what an earlier run may have left. Needs to be root.
    pub(super) fn new(quality: Quality, dir: &Path) -> Result<Self> {
        remove();
        let mut network = Self { link: None };
        network.build(quality, dir).context("a network of its own needs root, `ip` and TUN")?;
        Ok(network)
    }

    fn build(&mut self, quality: Quality, dir: &Path) -> Result<()> {
        let (name, near, far, outside) = (NAME, NEAR_DEVICE, FAR_DEVICE, OUTSIDE_DEVICE);
        ip(&format!("netns add {name}"))?;
        let Quality { rate, delay_ms, loss_percent, queue_bytes } = quality;
        let mut command = cache::python("link.py");
        command.args(["--near", near, "--far", far, "--rate", &rate.to_string()]);
        command.args(["--delay", &delay_ms.to_string(), "--loss", &loss_percent.to_string()]);
        command.args(["--queue", &queue_bytes.to_string(), "--seed", "1"]);
        let mut link = Process::start("link", command, &dir.join("link.log"))?;
        wait::until("the link's devices", DEVICES_MAX, || {
            link.check_running()?;
            let are_there =
                [near, far].iter().all(|name| Path::new("/sys/class/net").join(name).exists());
            Ok(are_there.then_some(()))
        })?;
        ip(&format!("link set {near} netns {name}"))?;
        ip(&format!("addr add {FAR}/30 dev {far}"))?;
        ip(&format!("link set {far} up"))?;
        ip(&format!("-n {name} addr add {NEAR}/30 dev {near}"))?;
        ip(&format!("-n {name} link set lo up"))?;
        ip(&format!("-n {name} link set {near} up"))?;
        ip(&format!("link add {outside} type veth peer name inside netns {name}"))?;
        ip(&format!("addr add {OUTSIDE}/30 dev {outside}"))?;
        ip(&format!("link set {outside} up"))?;
        ip(&format!("-n {name} addr add {INSIDE}/30 dev inside"))?;
        ip(&format!("-n {name} link set inside up"))?;
        ip(&format!("-n {name} route replace 10.77.0.0/30 dev {near} {CONGESTION}"))?;
        self.link = Some(link);
        Ok(())
    }

    /// What runs a program in it.
    pub(super) fn runner() -> Vec<String> {
        ["ip", "netns", "exec", NAME].map(str::to_owned).to_vec()
    }

    /// Where a gateway in it listens for devices.
    pub(super) fn inside() -> Result<SocketAddrV4> {
        Ok(SocketAddrV4::new(INSIDE, ports::free()?))
    }

    /// Where a broker at the far end of the link listens.
    pub(super) fn far() -> Result<SocketAddrV4> {
        Ok(SocketAddrV4::new(FAR, ports::free()?))
    }

    /// Takes the near end's interface away, or brings it back.
    pub(super) fn set_interface(is_up: bool) -> Result<()> {
        let act = if is_up { "up" } else { "down" };
        ip(&format!("-n {NAME} link set {NEAR_DEVICE} {act}"))
    }

    /// Takes the route to the far end away, or brings it back.
    pub(super) fn set_route(is_there: bool) -> Result<()> {
        let route = format!("10.77.0.0/30 dev {NEAR_DEVICE}");
        if is_there {
            return ip(&format!("-n {NAME} route add {route} {CONGESTION}"));
        }
        ip(&format!("-n {NAME} route del {route}"))
    }

    /// Swallows everything, without a word to either end, or stops doing so.
    pub(super) fn set_silent(&mut self, is_silent: bool) -> Result<()> {
        let signal = if is_silent { Signal::USR1 } else { Signal::USR2 };
        self.link.as_mut().context("there is a link")?.signal(signal)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The link's devices go with its process.
        drop(self.link.take());
        remove();
    }
}

/// Removes what there is; what was never made is not there.
fn remove() {
    for words in [format!("link del {OUTSIDE_DEVICE}"), format!("netns del {NAME}")] {
        ip(&words).unwrap_or_default();
    }
}

fn ip(words: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    process::output(command).map(drop)
}
