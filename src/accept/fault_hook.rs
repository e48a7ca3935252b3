//! Lets a test make a connection's task panic. Only in builds with debug assertions, and there only
//! in a process that was started with `KEYWAY_TEST_FAULTS=1`.

use std::sync::OnceLock;

use crate::parse::RequestHead;

/// Panics if the request asks for it and the process allows it.
pub fn panic_if_asked(head: &RequestHead<'_, '_>) {
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    let allowed =
        ALLOWED.get_or_init(|| std::env::var_os("KEYWAY_TEST_FAULTS").is_some_and(|on| on == "1"));
    if *allowed && head.values("keyway-test-panic").next().is_some() {
        panic!("a test asked for this panic");
    }
}
