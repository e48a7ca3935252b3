//! Load, comparisons and figures.
