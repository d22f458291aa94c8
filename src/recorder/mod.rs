//! The only one that joins facts, judges, and writes.

pub mod alert;
pub mod hits;
pub mod identity;
pub mod judge;
pub mod names;
pub mod policy;
pub mod signature;
pub mod store;
pub mod words;
