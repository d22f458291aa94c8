//! QUIC Initial packets.
