//! Files and interfaces to blocks of frames.
