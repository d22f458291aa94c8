//! SQLite: usage, findings, coverage, outbox.
