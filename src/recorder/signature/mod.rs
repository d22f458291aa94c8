//! Which AI service a name belongs to, which client asked, and what hides names from us.
//!
//! In: plain host names (`types::plain_name`), JA4 values, user agents, addresses.
//! Out: [`Match`], [`ClientClass`] with its evidence, network facts.
//! Never: knows people, flows or policy; holds a vendor's name in code: data is `signatures/`.
//! Limits: loaded once, read only after that; a lookup allocates nothing.

pub mod catalog;
pub mod clients;
pub mod matcher;
pub mod network;
mod source;

pub use catalog::{Catalogue, CatalogueError, Category, HostPattern, Kind, Service, Status};
pub use catalog::{Match, Strength};
pub use clients::Clients;
pub use network::Network;

pub use super::words::{ClientClass, Role};
