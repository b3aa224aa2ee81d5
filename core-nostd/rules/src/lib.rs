//! Filters and expressions over events.
#![no_std]
