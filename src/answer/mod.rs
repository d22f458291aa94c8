//! Answers: they read what the recorder keeps, and never write it.

pub mod observations;
pub mod starter;
