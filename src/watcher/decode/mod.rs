//! Frames to innermost IP packets.
