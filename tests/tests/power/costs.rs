//! What the log may cost: exact counts, which no change may raise unseen.

use tributary_core::log::Geometry;

use super::world::World;

const COMMITS: u64 = 1000;
/// One slot page, and of a full page its share.
const BYTES_PER_COMMIT_MAX: u64 = 4400;

#[test]
fn a_commit_is_one_barrier_and_little_more_than_a_page() {
    let geometry = Geometry { segments: 2, segment_bytes: 4 << 20, page_bytes: 4096 };
    let mut world = World::new(geometry, 1);
    world.open().expect("there is power");
    let (log, disk) = (world.log().counters(), world.disk.counters());
    for _ in 0..COMMITS {
        let body_bytes = world.append_of(&[150]).expect("there is power");
        assert!((160..=168).contains(&body_bytes), "one record of {body_bytes} bytes");
        world.commit().expect("there is power");
    }
    let (log_now, disk_now) = (world.log().counters(), world.disk.counters());
    assert_eq!(disk_now.barriers - disk.barriers, COMMITS);
    assert_eq!(log_now.barriers - log.barriers, COMMITS);
    assert_eq!(log_now.commits - log.commits, COMMITS);
    assert_eq!(disk_now.prepares, disk.prepares, "nothing is made in steady state");
    let bytes = (log_now.bytes - log.bytes) / COMMITS;
    assert!(bytes <= BYTES_PER_COMMIT_MAX, "{bytes} bytes per commit");
    assert!(disk_now.bytes - disk.bytes <= log_now.bytes - log.bytes, "all writes are counted");
}

#[test]
fn a_commit_without_anything_new_costs_nothing() {
    let geometry = Geometry { segments: 2, segment_bytes: 64 << 10, page_bytes: 4096 };
    let mut world = World::new(geometry, 1);
    world.open().expect("there is power");
    let before = world.disk.counters();
    world.commit().expect("there is power");
    assert_eq!(world.disk.counters().operations(), before.operations());
}
