//! connack
