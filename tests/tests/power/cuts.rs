//! Power cuts at any moment, also while the log recovers from one, and devices that fail.

use tributary_core::log::Geometry;

use super::world::World;

const SMALL: u32 = 1024;

fn geometry(segments: u32, pages: u32, page_bytes: u32) -> Geometry {
    Geometry { segments, segment_bytes: pages * page_bytes, page_bytes }
}

/// A world whose frames may take a good part of a segment.
fn world(segments: u32, page_bytes: u32, seed: u64) -> World {
    let mut world = World::new(geometry(segments, 12, page_bytes), seed);
    world.payload_bytes_max = page_bytes as usize * 3 / 2;
    world
}

/// Lives through power cuts and failures; each opening checks everything.
fn live(world: &mut World, lives: usize, steps: usize) {
    for _ in 0..lives {
        while !opens(world) {}
        end_some_day(world);
        for _ in 0..world.random.below(steps) {
            if world.step().is_err() {
                break;
            }
        }
        world.close();
    }
    world.open().expect("there is power");
    world.close();
}

/// Opens the log, if it is not in for a cut or a failure.
fn opens(world: &mut World) -> bool {
    let kind = world.random.below(6);
    match kind {
        0..3 => world.disk.cut_after(world.random.number() % 8),
        3 => world.disk.fail_write_after(world.random.number() % 4),
        4 => world.disk.fail_barrier_after(world.random.number() % 4),
        _ => {}
    }
    world.model.may_have_failed |= kind == 3 || kind == 4;
    let opened = world.open().is_ok();
    world.disk.restore();
    if !opened {
        world.close();
    }
    opened
}

fn end_some_day(world: &mut World) {
    match world.random.below(10) {
        // The process ends, and the power stays.
        0 => {}
        1 => world.disk.cut(),
        2 => world.disk.fail_write_after(world.random.number() % 20),
        3 => world.disk.fail_barrier_after(world.random.number() % 10),
        _ => world.disk.cut_after(world.random.number() % 40),
    }
}

#[test]
fn what_was_acknowledged_survives_cuts_at_random_moments() {
    for seed in 0..1500 {
        let segments = 2 + u32::try_from(seed % 4).expect("small");
        live(&mut world(segments, SMALL, seed), 8, 60);
    }
}

#[test]
fn larger_pages_are_as_safe() {
    for (page_bytes, seeds) in [(4096, 100), (16_384, 30)] {
        for seed in 0..seeds {
            live(&mut world(3, page_bytes, seed), 6, 60);
        }
    }
}

/// The first life of a seed, which a cut after so many operations ends. Whether it came to that.
fn first_life(seed: u64, cut_after: u64) -> (World, bool) {
    let mut world = world(2, SMALL, seed);
    world.disk.cut_after(cut_after);
    let mut run = || {
        world.open()?;
        for _ in 0..40 {
            world.step()?;
        }
        world.commit()
    };
    let is_cut = run().is_err();
    world.close();
    (world, is_cut)
}

#[test]
fn every_moment_of_a_life_and_of_the_recovery_after_it_can_be_the_last() {
    for seed in 0..6 {
        for cut_after in 0.. {
            let (first, is_cut) = first_life(seed, cut_after);
            for in_recovery in 0.. {
                let mut world = first.copy(!(seed << 16 | in_recovery));
                world.disk.cut_after(in_recovery);
                let is_second_cut = world.open().is_err();
                world.close();
                // The next one finds what both left, and goes on.
                live(&mut world, 2, 20);
                if !is_second_cut {
                    break;
                }
            }
            if !is_cut {
                break;
            }
        }
    }
}

#[test]
fn a_thousand_crashes_evict_nothing_while_there_is_room() {
    let geometry = geometry(4, 64, 4096);
    let mut world = World::new(geometry, 7);
    for life in 0..1000 {
        world.open().expect("there is power");
        world.append_of(&[16]).expect("there is power");
        world.commit().expect("there is power");
        assert_eq!(world.log().oldest().0, 0, "after {life} crashes");
        world.append_of(&[2000]).expect("there is power");
        world.disk.cut();
        world.close();
    }
    assert!(world.model.acknowledged.len() >= 1000);
}
