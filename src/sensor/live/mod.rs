//! Live: a small parent that opens rings, confined watchers, and a recorder.
pub mod confine;
pub mod message;
pub mod worker;
