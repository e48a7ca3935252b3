//! The one error of parsing: where it is and how to mend it.

use std::fmt;

/// A value from outside that no domain type accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Path of the field inside the document, such as `routes[0].path`; empty for a bare value.
    pub path: String,
    /// What is wrong and what would be right, as one sentence without the value's secrets.
    pub problem: String,
}

impl Invalid {
    /// A problem of a bare value.
    pub fn value(problem: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            problem: problem.into(),
        }
    }

    /// A problem of the field at `path`.
    pub fn at(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            problem: problem.into(),
        }
    }

    /// The same problem, seen from the document that holds the value in `field`.
    #[must_use]
    pub fn within(mut self, field: impl AsRef<str>) -> Self {
        let field = field.as_ref();
        self.path = match self.path.as_str() {
            "" => field.to_owned(),
            inner if inner.starts_with('[') => format!("{field}{inner}"),
            inner => format!("{field}.{inner}"),
        };
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.problem)
        } else {
            write!(f, "{}: {}", self.path, self.problem)
        }
    }
}

impl std::error::Error for Invalid {}
