//! SQLite: usage, findings, coverage, outbox.

pub mod rows;
