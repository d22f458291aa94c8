//! HPACK header compression.
