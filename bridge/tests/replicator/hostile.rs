//! Whatever bytes come back, the replicator neither panics nor asks for memory without end.

use tributary_bridge::{ConnId, Credentials, Hash, Output, Talk as _};
use tributary_core::time::Instant;

use crate::broker::World;

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        // Small values and varint ends are what lengths are made of.
        (0..count).map(|_| if self.below(3) == 0 { 0xff } else { self.byte() & 0x0f }).collect()
    }
}

/// A framed answer to the request `frame`: nonsense, or a good answer with some bytes changed.
fn answer(random: &mut Random, world: &mut World, conn: ConnId, frame: &[u8]) -> Vec<u8> {
    let port = world.conns[&conn];
    let good = world.broker.handle(conn, port, frame).expect("no fault is set");
    if random.below(4) > 0 {
        return good;
    }
    let mut bytes = good[4..].to_vec();
    match random.below(4) {
        0 => {
            let count = random.below(64);
            bytes.truncate(4);
            bytes.extend(random.bytes(count));
        }
        1 => bytes.truncate(random.below(bytes.len())),
        _ => {
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = random.byte();
            }
        }
    }
    let mut framed = u32::try_from(bytes.len()).expect("short").to_be_bytes().to_vec();
    framed.extend(bytes);
    framed
}

fn step(random: &mut Random, world: &mut World, output: Output) {
    match output {
        Output::Send { conn, bytes } if world.conns.contains_key(&conn) => {
            let answer = answer(random, world, conn, &bytes);
            let (head, tail) = answer.split_at(random.below(answer.len()));
            world.replicator.handle_bytes(world.now, conn, head);
            world.replicator.handle_bytes(world.now, conn, tail);
        }
        Output::Connect { conn, .. } => {
            world.conns.insert(conn, 1);
            world.replicator.handle_connected(world.now, conn);
        }
        Output::Authenticate { conn, .. } => {
            let nonce = "nonce".to_owned();
            let (username, password) = ("gw".to_owned(), "pencil".into());
            let credentials = match random.below(3) {
                0 => Credentials::OauthBearer { token: password, extensions: Vec::new() },
                1 => Credentials::Scram { hash: Hash::Sha256, username, password, nonce },
                _ => Credentials::Plain { username, password },
            };
            world.replicator.handle_credentials(world.now, conn, Ok(credentials));
        }
        Output::WantBatch => world.wanted = true,
        Output::NeedLocal => world.replicator.handle_local(world.now, &world.local),
        Output::Bury(_) => {
            let account = format!("buried {}", random.below(9));
            let next = tributary_bridge::Position { account, ..world.handed_in.clone() };
            world.replicator.handle_buried(world.now, Ok(next));
        }
        Output::Claim(high) => world.replicator.handle_claimed(world.now, high),
        Output::Send { .. }
        | Output::Disconnect { .. }
        | Output::Resumed(_)
        | Output::Committed(_)
        | Output::Changed => {}
    }
}

#[test]
fn arbitrary_answers_never_panic() {
    let mut sessions = 0;
    let mut commits = 0;
    for seed in 0..3000 {
        let mut random = Random(seed);
        let version = [0, 2][random.below(2)];
        let authenticate = random.below(2) == 0;
        let mut world = World::with(version, |settings| settings.authenticate = authenticate);
        let mut shipped = 0;
        for _ in 0..60 {
            while let Some(output) = world.replicator.poll_output() {
                if let Output::Resumed(position) = &output {
                    shipped = position.offset.0;
                }
                step(&mut random, &mut world, output);
            }
            if core::mem::take(&mut world.wanted) && shipped < 1 << 60 {
                let mut batch = world.replicator.begin_batch();
                if crate::broker::push(&mut batch, "hot", shipped).is_ok() {
                    shipped += 1;
                }
                let account = String::new();
                let generation = crate::broker::GENERATION;
                let offset = tributary_core::Offset(shipped.max(1));
                let next = tributary_bridge::Position { offset, generation, account };
                world.handed_in = next.clone();
                world.replicator.handle_batch(world.now, batch, next);
                continue;
            }
            let Some(next) = world.replicator.poll_timeout() else {
                break;
            };
            world.now = Instant(world.now.0.max(next.0));
            world.replicator.handle_timeout(world.now);
        }
        sessions += world.replicator.status().counters.sessions;
        commits += world.replicator.status().counters.transactions;
    }
    assert!(sessions > 6000 && commits > 1000, "{sessions} sessions, {commits} commits");
}

#[test]
fn a_frame_of_any_length_field_is_refused_or_waited_for() {
    for length in [-1, 0, 3, 8 * 1024 * 1024 + 1, i32::MAX] {
        let mut world = World::new(2);
        let Some(Output::Connect { conn, .. }) = world.replicator.poll_output() else {
            panic!("a connection");
        };
        world.replicator.handle_connected(world.now, conn);
        world.replicator.handle_bytes(world.now, conn, &i32::to_be_bytes(length));
        assert!(world.back_off_ms() <= 100, "{length}");
    }
}

/// A good answer under another number is one to something else.
#[test]
fn an_answer_to_something_else_is_not_read() {
    let mut world = World::new(2);
    let Some(Output::Connect { conn, .. }) = world.replicator.poll_output() else {
        panic!("a connection");
    };
    world.replicator.handle_connected(world.now, conn);
    let Some(Output::Send { bytes, .. }) =
        core::iter::from_fn(|| world.replicator.poll_output()).find(|o| *o != Output::Changed)
    else {
        panic!("a request");
    };
    let mut answer = world.broker.handle(conn, 1, &bytes).expect("an answer");
    answer[7] ^= 1;
    world.replicator.handle_bytes(world.now, conn, &answer);
    let error = world.replicator.status().last_error.clone().unwrap();
    assert_eq!(error, "a broker sent something that is no answer to ApiVersions");
}
