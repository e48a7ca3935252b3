//! The suite `abuse`: what clients that are slow, or only many, do to a node.

use super::{Figure, idle, slow};
use crate::progress::Progress;
use crate::trouble::Outcome;

/// Measures the suite.
///
/// # Errors
/// When something that is needed is missing, fails, or answers wrongly.
pub async fn measure(quick: bool, progress: Progress) -> Outcome<Vec<Figure>> {
    let mut figures = idle::measure(progress).await?;
    figures.extend(slow::measure(quick, progress).await?);
    Ok(figures)
}
