//! The only one that joins facts, judges, and writes.
//!
//! In: observations in the order of the run. Out: rows in the store, events in its outbox.

pub mod aggregate;
pub mod alert;
pub mod desk;
pub mod digest;
pub mod evidence;
pub mod finding;
pub mod flows;
pub mod hits;
pub mod identity;
pub mod judge;
pub mod ledger;
pub mod names;
pub mod policy;
pub mod quic_ids;
pub mod signature;
pub mod store;
pub mod words;
