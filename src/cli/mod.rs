//! One file a command: arguments to one action, no logic of its own.

pub mod lookup;
