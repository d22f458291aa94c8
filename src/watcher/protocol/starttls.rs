//! Protocols that turn to TLS.
