//! Packets to observations.
