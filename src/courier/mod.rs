//! Reads the outbox and carries alerts to sinks.
