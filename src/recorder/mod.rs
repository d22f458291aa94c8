//! The only one that joins facts, judges, and writes.

pub mod alert;
pub mod policy;
pub mod signature;
pub mod store;
pub mod words;
