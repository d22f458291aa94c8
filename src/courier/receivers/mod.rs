//! One file a kind of sender: what others tell the sensor while it runs.

pub mod syslog;
