//! When a finding becomes an alert.
