//! The log against a model: power cuts at any moment, decay, and what it may cost.

#![expect(unreachable_pub, reason = "a test has no public interface")]

mod check;
mod costs;
mod cuts;
mod damage;
mod events;
mod model;
mod world;
