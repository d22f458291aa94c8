//! Wires the roles into one run: the only threads, channels and processes.
//!
//! In: options of each role. Out: `offline` reads files with threads that give the same for any
//! number of them; `live` watches interfaces with processes that trust one another little.

pub mod live;
pub mod offline;

pub use offline::{Listener, Options, Totals, WATCHERS_MAX, run_offline};
