//! The only one that joins facts, judges, and writes.

pub mod policy;
pub mod signature;
pub mod store;
