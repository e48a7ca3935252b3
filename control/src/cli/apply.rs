//! `apply`: reads YAML, tells faults by path and line, and shows the difference.

use super::Session;
use super::arguments::ApplyArguments;
use super::error::CliError;
use crate::admin::answer::Changed;
use crate::admin::apply::ApplyView;
use crate::apply::yaml::{self, FILE_BYTES_MAX, Lines, YamlError};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub(super) fn run(session: &Session, arguments: &ApplyArguments) -> Result<(), CliError> {
    let text = read(&arguments.file)?;
    let refuse = |faults: Vec<YamlError>| CliError::Document {
        file: arguments.file.display().to_string(),
        faults,
    };
    let document = yaml::read(&text).map_err(|fault| refuse(vec![fault]))?;
    document.clone().check().map_err(|faults| {
        let lines = Lines::of(&text);
        refuse(
            faults
                .into_iter()
                .map(|fault| lines.locate(fault))
                .collect(),
        )
    })?;
    let applied = session
        .client
        .post("/v1/apply")
        .with("dry_run", arguments.dry_run.then_some(true))
        .with("prune", arguments.prune.then_some(true))
        .waiting(arguments.wait.timeout_ms().filter(|_| !arguments.dry_run))
        .send_json::<Changed<ApplyView>>(&document)
        .map_err(|error| located(error, &text))?;
    session.changed(&applied, "in force", |view| {
        let dry_run = if view.dry_run {
            "dry run: nothing was changed\n"
        } else {
            ""
        };
        format!("{}{dry_run}", view.applied)
    })
}

/// The server's faults of the document, with their lines in the file.
fn located(error: CliError, text: &str) -> CliError {
    match error {
        CliError::Refused(mut problem) => {
            let lines = Lines::of(text);
            for fault in &mut problem.errors {
                fault.path = match lines.line(&fault.path) {
                    Some(line) => format!("line {line}, {}", fault.path),
                    None => fault.path.clone(),
                };
            }
            if let [only] = problem.errors.as_slice() {
                problem.detail = only.to_string();
            }
            CliError::Refused(problem)
        }
        other => other,
    }
}

fn read(path: &Path) -> Result<String, CliError> {
    let failed = |source| CliError::File {
        path: path.to_owned(),
        source,
    };
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_string(&mut text)
    } else {
        File::open(path)
            .map_err(failed)?
            .take(limit)
            .read_to_string(&mut text)
    };
    match read {
        Ok(bytes) if bytes < FILE_BYTES_MAX => Ok(text),
        Ok(_) => Err(failed(io::Error::other(format!(
            "larger than {FILE_BYTES_MAX} bytes"
        )))),
        Err(source) => Err(failed(source)),
    }
}
