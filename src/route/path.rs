//! Paths that every server reads the same way.

/// The path could be read differently by an upstream than by the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path has segments that could be misread")]
pub struct PathUnsafe;

/// Checks a percent-encoded path.
pub fn check_path(_path: &str) -> Result<(), PathUnsafe> {
    unimplemented!()
}
