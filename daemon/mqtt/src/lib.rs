//! MQTT as values.
#![no_std]
