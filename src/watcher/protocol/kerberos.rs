//! Kerberos principals.
