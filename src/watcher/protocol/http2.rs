//! HTTP/2 in clear text.
