//! Bytes in, observations out. No disk, no network, no clock, no names of services or people.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod capture;
pub mod decode;
pub mod flow;
pub mod mirror;
pub mod packet;
pub mod protocol;
pub mod shed;
pub mod wire;
