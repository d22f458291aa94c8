//! One file a receiver. To add one: a file here that implements [`crate::courier::Sink`].

pub mod jsonl;
