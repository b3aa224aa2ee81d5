//! disconnect
