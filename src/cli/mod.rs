//! One file a command: arguments to one action, no logic of its own.

pub mod config;
pub mod lookup;
pub mod policy;
