//! TLS ClientHello and certificates from a TCP stream.
