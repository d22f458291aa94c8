//! Which AI service a name belongs to.
