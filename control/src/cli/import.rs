//! `keys import`: a file of any length, sent in parts that each are taken in whole or not at all.

use super::Session;
use super::arguments::{ImportForm, KeyImportArguments};
use super::error::CliError;
use super::receipt::{counted, proven};
use crate::admin::answer::Changed;
use crate::admin::key_imports::Imported;
use crate::store::IMPORT_KEYS_MAX;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// Largest part, bytes; the server takes twice as much.
const PART_BYTES_MAX: usize = 16 << 20;
/// Longest line of a file; a key with all its attributes is far shorter.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Lines that go to the server together, and where in the file each stood.
#[derive(Default)]
struct PartOfFile {
    body: Vec<u8>,
    lines: Vec<u64>,
}

/// What was taken in so far.
#[derive(Default)]
struct Sum {
    created: u64,
    existing: u64,
}

pub(super) fn run(session: &Session, arguments: &KeyImportArguments) -> Result<(), CliError> {
    let mut reader = open(&arguments.file)?;
    let (mut part, mut sum, mut number) = (PartOfFile::default(), Sum::default(), 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let failed = |source| CliError::File {
            path: arguments.file.clone(),
            source,
        };
        let read = io::Read::take(
            &mut reader,
            u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX),
        )
        .read_until(b'\n', &mut line)
        .map_err(failed)?;
        if read == 0 {
            break;
        }
        number += 1;
        if line.len() >= LINE_BYTES_MAX {
            return Err(in_line(number, "is too long for a key"));
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let object = object_of(text, arguments).map_err(|why| in_line(number, &why))?;
        let line = serde_json::to_vec(&object).map_err(|e| in_line(number, &e.to_string()))?;
        if part.lines.len() == IMPORT_KEYS_MAX || part.body.len() + line.len() > PART_BYTES_MAX {
            send(session, std::mem::take(&mut part), &mut sum, None)?;
        }
        part.body.extend(line);
        part.body.push(b'\n');
        part.lines.push(number);
    }
    // The last part holds the newest change: its receipt proves the earlier ones as well.
    let wait = arguments.wait.timeout_ms();
    let last = match part.lines.is_empty() {
        true => None,
        false => Some(send(session, part, &mut sum, wait)?),
    };
    let told = json!({ "created": sum.created, "existing": sum.existing,
        "receipt": last.as_ref().and_then(|last| last.receipt.as_ref()) });
    session.output.one(&told, |_| {
        let created = counted(sum.created, "key");
        let mut text = format!("{created} taken in, {} there already", sum.existing);
        if let Some(receipt) = last.as_ref().and_then(|last| last.receipt.as_ref())
            && receipt.complete
        {
            text += &format!("\n{}", super::receipt::told(receipt, "live"));
        }
        text
    })?;
    proven(last.as_ref().and_then(|last| last.receipt.as_ref()), "live")
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, CliError> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(BufReader::new(file))),
        Err(source) => Err(CliError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

/// One line as the server reads it. No error repeats the line: it holds a key.
fn object_of(text: &[u8], arguments: &KeyImportArguments) -> Result<Map<String, Value>, String> {
    let mut object = match arguments.form {
        ImportForm::Json => serde_json::from_slice(text)
            .map_err(|_| "is no JSON object; --form tells what a line is".to_owned())?,
        ImportForm::Plain | ImportForm::Sha256 => {
            let text = str::from_utf8(text).map_err(|_| "is no text".to_owned())?;
            let field = if arguments.form == ImportForm::Plain {
                "key"
            } else {
                "sha256"
            };
            Map::from_iter([(field.to_owned(), Value::from(text))])
        }
    };
    if let Some(app) = &arguments.app
        && !object.contains_key("tenant")
        && !object.contains_key("app")
    {
        object.insert("tenant".to_owned(), json!(app.tenant));
        object.insert("app".to_owned(), json!(app.app));
    }
    if let Some(environment) = arguments.environment
        && !object.contains_key("environment")
    {
        object.insert("environment".to_owned(), json!(environment));
    }
    match object.contains_key("app") {
        true => Ok(object),
        false => Err("names no app; give --app TENANT/APP for lines that do not".to_owned()),
    }
}

fn send(
    session: &Session,
    part: PartOfFile,
    sum: &mut Sum,
    wait: Option<u32>,
) -> Result<Changed<Imported>, CliError> {
    let call = session.client.post("/v1/keys/import").waiting(wait);
    match call.send_lines::<Changed<Imported>>(part.body) {
        Ok(imported) => {
            sum.created += imported.thing.created;
            sum.existing += imported.thing.existing;
            Ok(imported)
        }
        Err(CliError::Refused(mut problem)) => {
            for fault in &mut problem.errors {
                fault.path = line_of(&fault.path, &part.lines);
            }
            if let [only] = problem.errors.as_slice() {
                problem.detail = only.to_string();
            }
            if sum.created + sum.existing > 0 {
                eprintln!(
                    "keyway-control: {} before that were taken in; an import may be repeated",
                    counted(sum.created + sum.existing, "key")
                );
            }
            Err(CliError::Refused(problem))
        }
        Err(other) => Err(other),
    }
}

/// `[2].key` of a part, as `line 17: key` of the file.
fn line_of(path: &str, lines: &[u64]) -> String {
    let inside = path.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let place = inside.and_then(|(index, field)| {
        let line = lines.get(index.parse::<usize>().ok()?)?;
        let field = field.trim_start_matches('.');
        Some(match field {
            "" => format!("line {line}"),
            field => format!("line {line}, {field}"),
        })
    });
    place.unwrap_or_else(|| path.to_owned())
}

fn in_line(number: u64, why: &str) -> CliError {
    CliError::Usage(format!("line {number} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::arguments::WaitArguments;

    fn arguments(form: ImportForm, app: Option<&str>) -> KeyImportArguments {
        KeyImportArguments {
            file: "-".into(),
            form,
            app: app.map(|app| app.parse().expect("an app")),
            environment: None,
            wait: WaitArguments::default(),
        }
    }

    #[test]
    fn a_line_names_its_app_or_gets_the_one_of_the_command() {
        let given = arguments(ImportForm::Json, Some("acme/mobile"));
        let own = object_of(br#"{"tenant":"a","app":"b","key":"k"}"#, &given).expect("whole");
        assert_eq!(own["tenant"], "a");
        let without = object_of(br#"{"key":"k"}"#, &given).expect("filled up");
        assert_eq!(
            (&without["tenant"], &without["app"]),
            (&json!("acme"), &json!("mobile"))
        );
        assert!(object_of(br#"{"key":"k"}"#, &arguments(ImportForm::Json, None)).is_err());
    }

    #[test]
    fn an_error_never_repeats_a_line() {
        let given = arguments(ImportForm::Json, Some("acme/mobile"));
        let error = object_of(b"sk-very-secret-key", &given).expect_err("no JSON");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_fault_of_a_part_is_told_by_its_line_in_the_file() {
        assert_eq!(line_of("[1].sha256", &[3, 17]), "line 17, sha256");
        assert_eq!(line_of("[0]", &[3, 17]), "line 3");
        assert_eq!(line_of("query", &[3]), "query");
    }
}
