//! A directory that is damaged or unsuitable, a configuration with mistakes: the daemon starts and
//! says exactly what is missing, or refuses and says what to do.

use core::time::Duration;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tributary_core::crc::crc32c;
use tributary_tests::daemon::Daemon;
use tributary_tests::device::Device;
use tributary_tests::{scratch, wait};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
/// Of four kilobytes each: more than two segments.
const EVENTS: usize = 2_400;
const SEGMENTS: usize = 3;
/// What one commit takes of a device: so much may one damaged frame cost.
const FRAME_EVENTS_MAX: usize = 16;
/// Damage in what was committed last cannot be told from a commit that was cut.
const END_BYTES: u64 = 256 << 10;
/// In the first record of a segment.
const CONTROL_AT: usize = 3 * 4096 + 50;
/// How long a daemon takes to read its whole log, gently.
const READ_MAX: Duration = Duration::from_secs(30);
const BAD_CONFIG: i32 = 2;
const BAD_DIRECTORY: i32 = 3;

/// A daemon whose log can be damaged and put right again.
struct Patient {
    daemon: Daemon,
    messages: Vec<String>,
    sound: Vec<Vec<u8>>,
    note: Vec<u8>,
}

/// What can be read of a log.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    events: usize,
    /// First and end of each range that is told to be missing.
    gaps: Vec<(usize, usize)>,
}

impl Patient {
    fn new() -> Result<Self> {
        let mut daemon = Daemon::start(TRIBUTARY, "")?;
        let message = |seq| format!(r#"{{"seq":{seq},"x":"{}"}}"#, "x".repeat(4_000));
        let messages: Vec<String> = (0..EVENTS).map(message).collect();
        Device::publish(daemon.port(), "plant/1/telemetry", messages.clone())?;
        daemon.kill()?;
        let mut patient = Self { daemon, messages, sound: Vec::new(), note: Vec::new() };
        for index in 0..SEGMENTS {
            patient.sound.push(fs::read(patient.segment(index))?);
        }
        patient.note = fs::read(patient.note_path())?;
        Ok(patient)
    }

    fn segment(&self, index: usize) -> PathBuf {
        self.daemon.dir().join(format!("data/input-{index:05}.seg"))
    }

    fn note_path(&self) -> PathBuf {
        self.daemon.data().join("input.end")
    }

    /// All as it was before any damage.
    fn heal(&mut self) -> Result<()> {
        for index in 0..SEGMENTS {
            let path = self.segment(index);
            if path.is_dir() {
                fs::remove_dir(&path)?;
            }
            fs::write(path, &self.sound[index])?;
        }
        fs::write(self.note_path(), &self.note)?;
        Ok(())
    }

    /// Starts the daemon on what there is, reads everything, and ends it. What is read is what was
    /// acknowledged, and each offset is either read or told to be missing, once.
    fn examine(&mut self) -> Result<Found> {
        self.daemon.restart()?;
        let output = self.daemon.try_command(&["tail", "--from", "0", "--end", "--json"])?;
        ensure!(output.status.success(), "{output:?}");
        let next = self.daemon.status()?["log"]["durable"].as_u64().context("durable")?;
        ensure!(next == EVENTS as u64, "the next offset is {next}");
        self.daemon.kill()?;
        let mut found = Found { events: 0, gaps: Vec::new() };
        let mut due = 0;
        for line in core::str::from_utf8(&output.stdout)?.lines() {
            let line: Value = serde_json::from_str(line)?;
            let number = |name: &str| {
                let number = line[name].as_u64().and_then(|number| usize::try_from(number).ok());
                number.with_context(|| format!("{name} of {line}"))
            };
            if line["gap"].is_string() {
                let (first, end) = (number("first")?, number("end")?);
                ensure!(first == due && first < end, "a gap from {first} where {due} is due");
                found.gaps.push((first, end));
                due = end;
            } else {
                let offset = number("offset")?;
                ensure!(offset == due, "offset {offset} where {due} is due");
                let payload = line["payload"].as_str();
                ensure!(payload == Some(&self.messages[offset]), "{offset} is another event");
                found.events += 1;
                due += 1;
            }
        }
        ensure!(due == EVENTS, "what can be read and what is missing ends at {due}");
        Ok(found)
    }
}

impl Found {
    fn lost(&self) -> usize {
        self.gaps.iter().map(|(first, end)| end - first).sum()
    }
}

#[test]
fn a_flipped_bit_costs_one_frame_and_is_told() -> Result<()> {
    let mut random = scratch::random("flipped bits")?;
    let mut patient = Patient::new()?;
    let all = Found { events: EVENTS, gaps: Vec::new() };
    ensure!(patient.examine()? == all, "the sound log is whole");
    let mut costly = 0;
    for _ in 0..24 {
        patient.heal()?;
        let index = random.usize(..SEGMENTS);
        let used = used_bytes(&patient.sound[index]);
        let end = if index + 1 == SEGMENTS { used.saturating_sub(END_BYTES) } else { used };
        let at = random.u64(..end);
        let byte = patient.sound[index][usize::try_from(at)?] ^ (1 << random.u32(..8));
        let file = fs::OpenOptions::new().write(true).open(patient.segment(index))?;
        file.write_all_at(&[byte], at)?;
        let found = patient.examine().with_context(|| format!("segment {index}, byte {at}"))?;
        ensure!(found.lost() <= FRAME_EVENTS_MAX, "segment {index}, byte {at}: {:?}", found.gaps);
        costly += usize::from(found.lost() > 0);
    }
    ensure!(costly > 0, "events lie in the segments");
    Ok(())
}

#[test]
fn damage_that_costs_no_event_is_no_gap() -> Result<()> {
    let mut patient = Patient::new()?;
    for index in 0..SEGMENTS {
        patient.heal()?;
        // A segment begins with control records.
        let file = fs::OpenOptions::new().write(true).open(patient.segment(index))?;
        file.write_all_at(&[!patient.sound[index][CONTROL_AT]], CONTROL_AT as u64)?;
        let found = patient.examine().with_context(|| format!("segment {index}"))?;
        ensure!(found == Found { events: EVENTS, gaps: Vec::new() }, "segment {index}: {found:?}");
    }
    Ok(())
}

fn used_bytes(segment: &[u8]) -> u64 {
    segment.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

#[test]
fn a_segment_that_is_gone_costs_what_was_in_it() -> Result<()> {
    type Harm = fn(&Path) -> Result<()>;
    let harms: [(&str, Harm); 5] = [
        ("missing", |path| Ok(fs::remove_file(path)?)),
        ("empty", |path| Ok(fs::write(path, "")?)),
        ("garbage", |path| Ok(fs::write(path, vec![0xA5; 4 << 20])?)),
        ("cut", |path| Ok(fs::OpenOptions::new().write(true).open(path)?.set_len(2 << 20)?)),
        ("a directory", |path| {
            fs::remove_file(path)?;
            Ok(fs::create_dir(path)?)
        }),
    ];
    let mut patient = Patient::new()?;
    for (what, harm) in harms {
        patient.heal()?;
        harm(&patient.segment(1))?;
        let found = patient.examine().context(what)?;
        let [(first, end)] = found.gaps[..] else {
            anyhow::bail!("{what}: one gap, and not {:?}", found.gaps)
        };
        // A segment of four megabytes holds a thousand such events, and its neighbours are whole.
        let least = if what == "cut" { 400 } else { 900 };
        ensure!((least..1_100).contains(&(end - first)), "{what}: {first} to {end} are missing");
    }
    Ok(())
}

#[test]
fn damage_of_old_segments_is_told_in_status_before_anyone_reads_them() -> Result<()> {
    let mut patient = Patient::new()?;
    let at = used_bytes(&patient.sound[0]) / 2;
    let byte = patient.sound[0][usize::try_from(at)?] ^ 1;
    let file = fs::OpenOptions::new().write(true).open(patient.segment(0))?;
    file.write_all_at(&[byte], at)?;
    patient.daemon.restart()?;
    let mut log = Value::Null;
    wait::until("the log is read", READ_MAX, || {
        log = patient.daemon.status()?["log"].take();
        Ok((log["verified"] == log["durable"]).then_some(()))
    })?;
    let told = log["gaps"].as_array().context("gaps")?.clone();
    patient.daemon.kill()?;
    let found = patient.examine()?;
    let gaps: Vec<Value> = found.gaps.iter().map(|gap| serde_json::json!([gap.0, gap.1])).collect();
    ensure!(!gaps.is_empty() && told == gaps, "{told:?}, and a reader says {gaps:?}");
    Ok(())
}

/// Dead letters and commands stand beside the log, which is sound: devices are served.
#[test]
fn a_stream_that_cannot_be_used_is_told_and_keeps_nobody_waiting() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    daemon.stop()?;
    let streams = ["dead-letter", "downlink"];
    for stream in streams {
        fs::create_dir(daemon.data().join(format!("{stream}-00000.seg")))?;
    }
    daemon.restart()?;
    Device::publish(daemon.port(), "plant/1/telemetry", vec!["{}".to_owned()])?;
    let log = daemon.status()?["log"].take();
    ensure!(log["durable"] == 1, "{log:#}");
    for stream in streams {
        ensure!(log["unusable"][stream].is_string(), "{log:#}");
        ensure!(daemon.log_lines()?.contains(stream), "the log tells of {stream}");
        fs::remove_dir(daemon.data().join(format!("{stream}-00000.seg")))?;
    }
    daemon.stop()?;
    daemon.restart()?;
    let log = daemon.status()?["log"].take();
    ensure!(log["unusable"] == serde_json::json!({}), "{log:#}");
    Ok(())
}

/// A directory of that name, as a broken restore of a backup leaves one: devices are served.
#[test]
fn a_control_socket_that_cannot_be_made_is_told_and_made_when_it_can() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    daemon.stop()?;
    let socket = daemon.data().join("tributary.sock");
    fs::remove_file(&socket)?;
    fs::create_dir(&socket)?;
    daemon.restart()?;
    Device::publish(daemon.port(), "plant/1/telemetry", vec!["{}".to_owned()])?;
    let told = daemon.log_lines()?;
    ensure!(told.contains(&format!("remove the directory {}", socket.display())), "{told}");
    ensure!(!daemon.try_command(&["status"])?.status.success(), "nobody can answer");
    fs::remove_dir(&socket)?;
    wait::until("a control socket", READ_MAX, || {
        Ok(daemon.try_command(&["status"])?.status.success().then_some(()))
    })?;
    ensure!(daemon.status()?["log"]["durable"] == 1, "it was acknowledged");
    daemon.stop()?;
    Ok(())
}

/// Where the pages begin that a segment's header stands in.
const HEADER_PAGES: [u64; 2] = [0, (4 << 20) - 4096];

#[test]
fn a_page_with_a_header_costs_nothing() -> Result<()> {
    let mut patient = Patient::new()?;
    for page_at in HEADER_PAGES {
        for index in 0..SEGMENTS {
            let file = fs::OpenOptions::new().write(true).open(patient.segment(index))?;
            file.write_all_at(&[0xFF; 4096], page_at)?;
        }
        let found = patient.examine()?;
        ensure!(found.lost() == 0, "{found:?} with the pages at {page_at} damaged");
        patient.heal()?;
    }
    Ok(())
}

#[test]
fn a_log_of_which_no_header_is_left_is_told_to_be_lost() -> Result<()> {
    let mut patient = Patient::new()?;
    for index in 0..SEGMENTS {
        let file = fs::OpenOptions::new().write(true).open(patient.segment(index))?;
        for page_at in HEADER_PAGES {
            file.write_all_at(&[0xFF; 4096], page_at)?;
        }
    }
    let verified = Command::new(TRIBUTARY)
        .args(["log", "verify", "--dir"])
        .arg(patient.daemon.data())
        .output()?;
    let told = core::str::from_utf8(&verified.stdout)?;
    let lost = format!("{EVENTS} events that were acknowledged are lost");
    ensure!(!verified.status.success() && told.contains(&lost), "{verified:?}");
    patient.daemon.restart()?;
    let status = patient.daemon.status()?;
    let vanished = status["log"]["vanished"].as_str().context("it is told")?;
    ensure!(vanished.contains(&format!("events up to offset {}", EVENTS - 1)), "{vanished}");
    Device::publish(patient.daemon.port(), "a/b", vec!["1".into()])?;
    patient.daemon.restart()?;
    ensure!(patient.daemon.status()?["log"]["vanished"].is_null(), "the new log is there");
    Ok(())
}

#[test]
fn refuses_a_log_of_a_newer_version() -> Result<()> {
    let mut patient = Patient::new()?;
    let newest = fs::OpenOptions::new().write(true).open(patient.segment(SEGMENTS - 1))?;
    let mut header = patient.sound[SEGMENTS - 1][..64].to_vec();
    header[7] = b'9';
    let sum = crc32c(0, &header[..60]).to_le_bytes();
    header[60..].copy_from_slice(&sum);
    for place in [0, 512] {
        newest.write_all_at(&header, place)?;
    }
    let refused = patient.daemon.try_command(&["run"])?;
    ensure!(refused.status.code() == Some(BAD_DIRECTORY), "{refused:?}");
    ensure!(errors(&refused).contains("newer"), "{refused:?}");
    // It was left alone.
    patient.heal()?;
    ensure!(patient.examine()?.lost() == 0, "the log is as it was");
    Ok(())
}

/// Whoever ran the daemon once as another user left it; to go on without would lose what is in it.
#[test]
fn refuses_a_log_with_a_file_that_it_may_not_open() -> Result<()> {
    let mut patient = Patient::new()?;
    fs::set_permissions(patient.segment(1), Permissions::from_mode(0o000))?;
    // Who may do everything is an ordinary user in this.
    let mut run = match fs::metadata("/proc/self")?.uid() {
        0 => Command::new("setpriv"),
        _ => Command::new("env"),
    };
    if run.get_program() == "setpriv" {
        run.args(["--bounding-set=-all", "--inh-caps=-all"]);
    }
    let refused = run.args([TRIBUTARY, "run", "--config"]).arg(patient.daemon.config()).output()?;
    ensure!(refused.status.code() == Some(BAD_DIRECTORY), "{refused:?}");
    ensure!(errors(&refused).contains("cannot open"), "{refused:?}");
    fs::set_permissions(patient.segment(1), Permissions::from_mode(0o640))?;
    ensure!(patient.examine()?.lost() == 0, "the log is as it was");
    Ok(())
}

#[test]
fn refuses_a_directory_that_keeps_nothing_and_leaves_it_as_it_was() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    daemon.stop()?;
    let ram = tempfile::tempdir_in("/dev/shm")?;
    let inside = ram.path().join("a/b").display().to_string();
    let file = daemon.dir().join("file");
    fs::write(&file, "in the way")?;
    let file = file.display().to_string();
    // Where to, and what the message tells.
    let places = [
        (&*ram.path().display().to_string(), "volatile = true"),
        (&inside, "volatile = true"),
        ("/sys/kernel/log", "/sys/kernel"),
        ("/proc/log", "/proc/log"),
        (&file, &file),
    ];
    for (place, told) in places {
        fs::write(daemon.config(), format!("[log]\ndir = \"{place}\"\n"))?;
        for command in ["check", "run"] {
            let refused = daemon.try_command(&[command])?;
            ensure!(refused.status.code() == Some(BAD_DIRECTORY), "{command} {place}: {refused:?}");
            ensure!(errors(&refused).contains(told), "{command} {place}: {refused:?}");
        }
    }
    ensure!(fs::read_dir(ram.path())?.next().is_none(), "something is left behind");
    let new = daemon.dir().join("new");
    fs::write(daemon.config(), format!("[log]\ndir = \"{}\"\nvolatile = true\n", new.display()))?;
    let good = daemon.try_command(&["check"])?;
    ensure!(good.status.success() && !new.exists(), "it only looks: {good:?}");
    Ok(())
}

#[test]
fn a_secret_that_is_missing_is_told_by_check_and_run() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    daemon.stop()?;
    daemon.configure(
        "[[source]]\nurl = \"mqtt://127.0.0.1:1\"\ntopics = [\"a\"]\nusername = \"gw\"\n\
         password_file = \"/nope/source\"\n[upstream]\nbrokers = [\"127.0.0.1:1\"]\n\
         tls = { ca = \"/nope/ca\" }\n\
         sasl = { mechanism = \"PLAIN\", username = \"gw\", password_file = \"/nope/upstream\" }\n",
    )?;
    let checked = daemon.try_command(&["check"])?;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    ensure!(checked.status.success(), "`run` goes on, and tries again: {checked:?}");
    daemon.restart()?;
    let log = daemon.log_lines()?;
    for path in ["/nope/source", "/nope/ca", "/nope/upstream"] {
        let told = |line: &str| line.contains(path) && line.contains("cannot be reached as it is");
        ensure!(said.lines().any(told), "check: {path}: {said}");
        ensure!(log.lines().any(told), "run: {path}: {log}");
    }
    Ok(())
}

#[test]
fn a_lowered_size_takes_back_what_holds_nothing_and_says_what_it_cannot() -> Result<()> {
    let mut patient = Patient::new()?;
    // As if the log had been made ahead up to there.
    let ahead = patient.segment(12);
    fs::write(&ahead, vec![0; 4 << 20])?;
    let with_size = |patient: &mut Patient, size: &str| {
        let config = fs::read_to_string(patient.daemon.config())?;
        fs::write(patient.daemon.config(), config.replace("64 MiB", size))?;
        patient.daemon.restart()?;
        let log = patient.daemon.status()?["log"].take();
        patient.daemon.kill()?;
        Ok::<_, anyhow::Error>(log)
    };
    let log = with_size(&mut patient, "16 MiB")?;
    ensure!(log["bytes_max"] == 16 << 20 && log["larger"].is_null(), "{log}");
    ensure!(!ahead.exists(), "it holds nothing");
    // A segment that was begun stays, here a stray copy of one, and it is told.
    fs::write(patient.segment(5), &patient.sound[0])?;
    patient.daemon.configure("")?;
    let log = with_size(&mut patient, "16 MiB")?;
    ensure!(log["bytes_max"] == 24 << 20, "{log}");
    let told = log["larger"].as_str().context("it is larger")?;
    ensure!(told.contains("the log keeps 24.0 MiB"), "{told}");
    ensure!(patient.daemon.log_lines()?.contains("the log keeps 24.0 MiB"), "at the start too");
    fs::remove_file(patient.segment(5))?;
    patient.daemon.configure("")?;
    ensure!(patient.examine()?.lost() == 0, "the log is as it was");
    Ok(())
}

/// Mistakes: the configuration, the line that is shown, and what is said of it.
const MISTAKES: [(&str, &str, &str); 27] = [
    ("[log\n", "[log", "1"),
    ("gatway = \"x\"\n", "gatway", "gateway"),
    ("gateway = \"\"\n", "gateway = \"\"", "gateway"),
    ("gateway = 7\n", "gateway = 7", "a text"),
    ("[log]\nsize = \"1 zib\"\n", "1 zib", "size"),
    ("[log]\nsize = \"1 KiB\"\n", "1 KiB", "16"),
    ("[log]\nsize = \"1 TiB\"\n", "1 TiB", "256.0 GiB"),
    ("[log]\ndir = \"\"\n", "dir = \"\"", "directory"),
    ("[log]\ncommit = { delay = \"2 h\" }\n", "2 h", "delay"),
    ("[log]\nmax_age = \"1 s\"\n", "1 s", "max_age"),
    ("[log]\nwhen_full = \"stop\"\n", "stop", "drop-oldest"),
    ("[log]\nvolatile = \"yes\"\n", "volatile = \"yes\"", "`true` or `false`"),
    ("[[listener]]\naddress = \"nowhere\"\n", "nowhere", "port"),
    ("[[listener]]\nadress = \"127.0.0.1:1\"\n", "adress", "address"),
    ("[upstream]\n", "[upstream]", "brokers"),
    ("[upstream]\nbrokers = []\n", "brokers = []", "broker"),
    ("[upstream]\nbrokers = [\"kafka\"]\n", "\"kafka\"", "port"),
    ("[[route]]\ntopic = \"t\"\n", "[[route]]", "from"),
    ("[upstream]\nbrokers = [\"k:1\"]\n[[route]]\nfrom = \"a/#/b\"\ntopic = \"t\"\n", "a/#/b", "#"),
    ("[upstream]\nbrokers = [\"k:1\"]\n[[route]]\nfrom = \"a\"\ntopic = \"t t\"\n", "t t", "topic"),
    (
        "[upstream]\nbrokers = [\"k:1\"]\n[[route]]\nfrom = \"a\"\ntopic = \"t\"\nwhere = \"x >\"\n",
        "x >",
        "expression",
    ),
    (
        "[upstream]\nbrokers = [\"k:1\"]\n[[route]]\nfrom = \"a\"\ntopic = \"t\"\nwhere = \"nope(x)\"\n",
        "nope(x)",
        "nope",
    ),
    (
        "[upstream]\nbrokers = [\"k:1\"]\n[[route]]\nfrom = \"a\"\ntopic = \"t\"\nlane = \"urgent\"\n",
        "urgent",
        "normal",
    ),
    (
        "[upstream]\nbrokers = [\"k:1\"]\n[[route]]\nfrom = \"a\"\ntopic = \"t\"\nstart = \"then\"\n",
        "then",
        "oldest",
    ),
    (
        "[upstream]\nbrokers = [\"k:1\"]\n[[route]]\nfrom = \"a\"\ntopic = \"tributary.positions\"\n",
        "tributary.positions",
        "positions",
    ),
    (
        "[[listener]]\naddress = \"127.0.0.1:1883\"\n[[listener]]\naddress = \"127.0.0.1:1883\"\n",
        "127.0.0.1:1883",
        "twice",
    ),
    (
        "[[listener]]\naddress = \"127.0.0.1:1883\"\n[[listener]]\naddress = \"0.0.0.0:1883\"\n",
        "0.0.0.0:1883",
        "twice",
    ),
];

#[test]
fn each_mistake_of_a_configuration_is_shown_at_its_place() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    daemon.stop()?;
    let mut missed = Vec::new();
    for (text, line, told) in MISTAKES {
        fs::write(daemon.config(), text)?;
        for command in ["check", "run"] {
            let refused = daemon.try_command(&[command])?;
            let said = errors(&refused);
            let before = &text[..text.rfind(line).context("the line is there")?];
            let place = format!("tributary.toml:{}:", before.matches('\n').count() + 1);
            let is_shown = [line, told, &place].iter().all(|part| said.contains(part));
            if refused.status.code() != Some(BAD_CONFIG) || !is_shown {
                missed.push(format!("{command} {text:?} ({place}): {:?}\n{said}", refused.status));
                // What `check` lets pass, `run` would run.
                break;
            }
        }
    }
    ensure!(missed.is_empty(), "{}", missed.join("\n"));
    Ok(())
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
