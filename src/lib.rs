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

pub mod answer;
pub mod cli;
pub mod config;
pub mod courier;
pub mod observation;
pub mod recorder;
pub mod sensor;
pub mod types;
pub mod watcher;
pub mod written;
