//! One file a receiver. To add one: a file here that implements [`crate::courier::Sink`], and its
//! words in `settings.rs`.

pub mod file;
pub mod mail;
pub mod syslog;
pub mod tls;
pub mod webhook;
