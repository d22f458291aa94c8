//! SOCKS and the PROXY header.
