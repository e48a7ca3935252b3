//! The `keyway-control` binary.

fn main() {}
