//! JA4 TLS client fingerprint.
