//! shadowtap: which AI services, agents and models are in use on this network that nobody
//! approved, who is it, and how much data goes there.
//!
//! ```text
//! frames -> [capture -> decode -> flow + parsers] -> observations
//!                       watchers, share nothing
//!        -> [join -> match -> judge -> aggregate -> store] -> outbox -> sinks
//!                       recorder, one                          courier
//!                                  store -> report, export, evidence, views
//! ```
//!
//! Start at [`sensor`], which wires the roles; [`observation`] is the message between them.
//! `ARCHITECTURE.md` is the map.

#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]
// Tables of cases are long, and their types say nothing that a name would make clearer.
#![cfg_attr(
    test,
    allow(
        clippy::too_many_lines,
        clippy::type_complexity,
        clippy::items_after_statements,
        clippy::large_stack_arrays,
        clippy::format_collect
    )
)]

pub mod answer;
pub mod cli;
pub mod config;
pub mod courier;
pub mod observation;
pub mod prefetch;
pub mod recorder;
pub mod sensor;
pub mod types;
pub mod watcher;
pub mod written;
