//! File and flags to one validated configuration.
