//! Packets to observations: flow tables, byte counts, streams, and who reads them.
pub mod stream;
pub mod table;
pub mod texts;
