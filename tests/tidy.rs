//! The habits of this tree, checked instead of exhorted.
//!
//! Walks the source directories, so that a file counts before it is committed. Each broken rule is
//! told as one sentence with `file:line`. A rule looks only where it applies: the text of a
//! comment or of a string is no code, and code is no SQL.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Where hand-written files live, relative to the repository.
const SOURCES: [&str; 8] = [
    "src", "control", "loadtest", "tests", "benches", "scripts", ".ci", "examples",
];

/// Directories that hold built, generated or foreign files.
const SKIPPED: [&str; 5] = ["target", "corpus", "artifacts", "node_modules", ".git"];

/// Most lines a Rust file may have: one sitting's reading.
const LINES_MAX: usize = 500;

/// The leaves that may say `unsafe`; each opens with `#![expect(unsafe_code, reason = "…")]`.
const UNSAFE_LEAVES: [&str; 3] = [
    "src/io/descriptor.rs",
    "src/limit/memory.rs",
    "src/snapshot/map.rs",
];

/// The one place that names the runtime of the data plane.
const RUNTIME_HOME: &str = "src/io/";

/// The one place that speaks SQL.
const SQL_HOME: &str = "control/src/store/";

const SQL_CRATES: [&str; 3] = ["rusqlite::", "sqlx::", "libsqlite3_sys::"];

const SQL_OPENINGS: [&str; 9] = [
    "SELECT ",
    "INSERT INTO ",
    "INSERT OR ",
    "DELETE FROM ",
    "CREATE TABLE ",
    "CREATE INDEX ",
    "ALTER TABLE ",
    "DROP TABLE ",
    "PRAGMA ",
];

/// Spelled in halves, so that this file does not accuse itself.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
];

#[test]
fn no_rust_file_is_longer_than_one_sitting() {
    check(|file, faults| {
        let lines = file.text.lines().count();
        if file.rust && lines > LINES_MAX {
            faults.at(
                file,
                lines,
                &format!("has {lines} lines; split it, {LINES_MAX} is the most"),
            );
        }
    });
}

#[test]
fn every_module_begins_by_saying_what_it_owns() {
    check(|file, faults| {
        let opening = without_inner_attributes(&file.text);
        if file.rust && !opening.starts_with("//!") {
            let line = file.text[..file.text.len() - opening.len()]
                .matches('\n')
                .count()
                + 1;
            faults.at(
                file,
                line,
                "comes before a `//!` text that says what it owns",
            );
        }
    });
}

#[test]
fn only_the_io_module_names_the_runtime() {
    check(|file, faults| {
        if !file.path.starts_with(RUNTIME_HOME) {
            faults.where_code(file, "monoio::", "names monoio; only src/io may");
        }
    });
}

#[test]
fn unsafe_stands_only_in_listed_leaves() {
    check(|file, faults| {
        if UNSAFE_LEAVES.contains(&file.path.as_str()) {
            if !file.code_lines().any(|(_, line)| has_word(line, "unsafe")) {
                faults.at(
                    file,
                    1,
                    "is a listed unsafe leaf without unsafe; take it off the list",
                );
            }
            let dense: String = file.text.split_whitespace().collect();
            if !dense.contains("#![expect(unsafe_code,reason=") {
                faults.at(
                    file,
                    1,
                    "is unsafe; open it with #![expect(unsafe_code, reason = …)]",
                );
            }
            return;
        }
        for (number, line) in file.code_lines() {
            if has_word(line, "unsafe") {
                faults.at(
                    file,
                    number,
                    "says unsafe but is no leaf listed in tests/tidy.rs",
                );
            }
        }
    });
}

#[test]
fn every_listed_leaf_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let gone: Vec<_> = UNSAFE_LEAVES
        .iter()
        .filter(|leaf| !root.join(leaf).is_file())
        .collect();
    assert!(
        gone.is_empty(),
        "listed in tests/tidy.rs, but gone: {gone:?}"
    );
}

#[test]
fn sql_stays_in_the_store() {
    check(|file, faults| {
        if file.path.starts_with(SQL_HOME) || file.path == "tests/tidy.rs" {
            return;
        }
        if file.path.ends_with(".sql") {
            faults.at(file, 1, &format!("is SQL; it belongs under {SQL_HOME}"));
        }
        for name in SQL_CRATES {
            faults.where_code(file, name, "names a database crate; only the store may");
        }
        for (number, line) in numbered(&file.strings) {
            if SQL_OPENINGS.iter().any(|opening| line.contains(opening)) {
                faults.at(
                    file,
                    number,
                    &format!("holds SQL; it belongs under {SQL_HOME}"),
                );
            }
        }
    });
}

#[test]
fn no_test_is_ignored() {
    check(|file, faults| {
        faults.where_code(file, "#[ignore", "ignores a test; mend it or take it out");
    });
}

#[test]
fn nothing_is_left_to_do_in_code() {
    check(|file, faults| {
        for stub in ["todo!", "unimplemented!"] {
            faults.where_code(file, stub, "is a stub; nothing here is unfinished");
        }
    });
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    check(|file, faults| {
        for (number, line) in numbered(&file.text) {
            if MACHINE_PATHS.iter().any(|path| line.contains(path)) {
                faults.at(
                    file,
                    number,
                    "names a path of one machine; make it relative",
                );
            }
        }
    });
}

#[test]
fn the_reader_tells_code_from_strings_and_comments() {
    let text = r####"let a = "unsafe { \" }"; // unsafe
let b = r##"SELECT "# x"##; /* unsafe /* deep */ unsafe */ let c = '"'; let d: &'static str = b'"';
unsafe {}"####;
    let file = Source::read("src/sample.rs".into(), text.into());
    let lines: Vec<usize> = file
        .code_lines()
        .filter(|(_, line)| has_word(line, "unsafe"))
        .map(|(number, _)| number)
        .collect();
    assert_eq!(lines, [3], "code was read as:\n{}", file.code);
    assert!(
        file.strings.contains("SELECT \"# x"),
        "strings were read as:\n{}",
        file.strings
    );
    assert!(
        !file.code.contains("SELECT"),
        "code was read as:\n{}",
        file.code
    );
    assert!(!has_word("#![expect(unsafe_code)]", "unsafe"));
}

/// Runs a rule over every file and tells all its faults at once.
fn check(rule: impl Fn(&Source, &mut Faults)) {
    static FILES: LazyLock<Vec<Source>> = LazyLock::new(sources);
    let files = &*FILES;
    assert!(
        files.len() > 20,
        "the walk found only {} files; is the layout gone?",
        files.len()
    );
    let mut faults = Faults::default();
    for file in files {
        rule(file, &mut faults);
    }
    assert!(
        faults.count == 0,
        "{} fault(s):\n{}",
        faults.count,
        faults.told
    );
}

#[derive(Default)]
struct Faults {
    count: usize,
    told: String,
}

impl Faults {
    fn at(&mut self, file: &Source, line: usize, sentence: &str) {
        self.count += 1;
        writeln!(self.told, "{}:{line} {sentence}", file.path).expect("a String takes all");
    }

    fn where_code(&mut self, file: &Source, needle: &str, sentence: &str) {
        for (number, line) in file.code_lines() {
            if line.contains(needle) {
                self.at(file, number, sentence);
            }
        }
    }
}

/// One file, taken apart: `code` and `strings` have the lines of `text`, with the other blanked.
struct Source {
    path: String,
    rust: bool,
    text: String,
    code: String,
    strings: String,
}

impl Source {
    fn read(path: String, text: String) -> Self {
        let rust = Path::new(&path)
            .extension()
            .is_some_and(|extension| extension == "rs");
        let (code, strings) = if rust {
            split(&text)
        } else {
            Default::default()
        };
        Self {
            path,
            rust,
            text,
            code,
            strings,
        }
    }

    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        numbered(&self.code)
    }
}

/// The text from where something other than white space and `#![…]` begins.
fn without_inner_attributes(text: &str) -> &str {
    let mut rest = text.trim_start();
    while let Some((_, after)) = rest
        .strip_prefix("#![")
        .and_then(|rest| rest.split_once("]\n"))
    {
        rest = after.trim_start();
    }
    rest
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(start, _)| {
        !joins(line[..start].chars().next_back())
            && !joins(line[start + word.len()..].chars().next())
    })
}

/// Splits Rust text into code and string contents; comments go to neither, line ends to both.
fn split(text: &str) -> (String, String) {
    let (mut code, mut strings) = (String::new(), String::new());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = if rest.starts_with("//") {
            Piece::Comment(rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            Piece::Comment(block_comment(rest))
        } else if let Some(length) = string(rest, &code) {
            Piece::Text(length)
        } else if let Some(length) = character(rest) {
            Piece::Text(length)
        } else {
            Piece::Code(first.len_utf8())
        };
        let length = taken.length();
        let (piece, after) = rest.split_at(length);
        let blank = || piece.chars().filter(|c| *c == '\n').collect::<String>();
        code.push_str(&if matches!(taken, Piece::Code(_)) {
            piece.to_owned()
        } else {
            blank()
        });
        strings.push_str(&if matches!(taken, Piece::Text(_)) {
            piece.to_owned()
        } else {
            blank()
        });
        rest = after;
    }
    (code, strings)
}

enum Piece {
    Code(usize),
    Text(usize),
    Comment(usize),
}

impl Piece {
    fn length(&self) -> usize {
        match *self {
            Self::Code(length) | Self::Text(length) | Self::Comment(length) => length,
        }
    }
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of the string literal that `rest` begins with, if it does.
fn string(rest: &str, code_before: &str) -> Option<usize> {
    let inside_a_name = code_before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    if let Some(raw) = rest
        .strip_prefix('r')
        .filter(|_| !inside_a_name || code_before.ends_with('b'))
    {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = &raw[hashes + 1..];
            return Some(
                body.find(&close)
                    .map_or(rest.len(), |end| hashes + 2 + end + close.len()),
            );
        }
    }
    rest.starts_with('"').then(|| quoted(rest, '"')).flatten()
}

/// The length of the character literal that `rest` begins with; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.strip_prefix('\'')?.chars();
    let first = chars.next()?;
    (first == '\\' || chars.next() == Some('\''))
        .then(|| quoted(rest, '\''))
        .flatten()
}

fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn sources() -> Vec<Source> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for directory in SOURCES {
        walk(&root.join(directory), &mut found);
    }
    found.extend(
        ["Cargo.toml", "README.md", "deny.toml", "clippy.toml"].map(|name| root.join(name)),
    );
    found.sort();
    found
        .into_iter()
        .filter_map(|path| {
            let name = path
                .strip_prefix(&root)
                .expect("the walk starts at the root");
            let name = name.to_str().expect("file names are UTF-8").to_owned();
            // What is not UTF-8 was not written by hand.
            Some(Source::read(name, fs::read_to_string(path).ok()?))
        })
        .collect()
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let entry = entry.expect("a directory in the tree can be listed");
        let kind = entry.file_type().expect("a directory entry has a type");
        let name = entry.file_name();
        if kind.is_dir() && !SKIPPED.iter().any(|skipped| name == *skipped) {
            walk(&entry.path(), found);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
}
