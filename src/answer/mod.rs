//! Answers: they read what the recorder keeps, and never write it.

pub mod coverage;
pub mod evidence;
pub mod json;
pub mod live;
pub mod mirror;
pub mod observations;
pub mod starter;
pub mod summary;
pub mod terminal;
pub mod view;
