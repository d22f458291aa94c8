//! Answers: they read what the recorder keeps, and never write it.

pub mod controls;
pub mod coverage;
pub mod evidence;
pub mod export;
pub mod hunt;
pub mod indicators;
pub mod json;
pub mod live;
pub mod mask;
pub mod mirror;
pub mod observations;
pub mod report;
pub mod starter;
pub mod summary;
pub mod tally;
pub mod terminal;
pub mod verify;
pub mod view;
pub mod whatif;
