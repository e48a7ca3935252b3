//! A difference as people read it.

use super::{Action, Applied, Change};
use serde_json::Value;
use std::fmt;

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            change.fmt(f)?;
        }
        for left in &self.left_alone {
            writeln!(
                f,
                "= {} {}: left alone ({})",
                left.subject.word(),
                left.id,
                left.reason
            )?;
        }
        let count = |action| {
            self.changes
                .iter()
                .filter(|change| change.action == action)
                .count()
        };
        if self.changes.is_empty() {
            return writeln!(f, "no difference");
        }
        writeln!(
            f,
            "{} to create, {} to change, {} to remove",
            count(Action::Create),
            count(Action::Change),
            count(Action::Remove)
        )
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.action {
            Action::Create => '+',
            Action::Change => '~',
            Action::Remove => '-',
        };
        writeln!(f, "{sign} {} {}", self.subject.word(), self.id)?;
        for field in &self.fields {
            let (path, old, new) = (&field.path, &field.old, &field.new);
            match (old, new) {
                (Value::Null, new) => writeln!(f, "    {path}: {new}")?,
                (old, Value::Null) => writeln!(f, "    {path}: {old} -> none")?,
                (old, new) => writeln!(f, "    {path}: {old} -> {new}")?,
            }
        }
        Ok(())
    }
}
