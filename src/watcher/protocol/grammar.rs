//! Grammar of AI APIs: which API a request or answer speaks, whoever serves it.
//!
//! In: method, path and header names in clear. Out: an [`Api`].
//! Never: keeps the path, a header value, a body.

/// An API recognised by its grammar. The path itself is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// OpenAI-compatible generation.
    OpenAi,
}
