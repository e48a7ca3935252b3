//! Usage in, exactly once.
