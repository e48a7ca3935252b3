//! What commands print: tables for people, JSON for programs.

use super::Session;
use super::arguments::ListArguments;
use super::error::CliError;
use crate::admin::query::Listed;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::io::{self, Write};

/// Rows of a page when all of them are asked for.
const ALL_PAGE_ROWS: u32 = 1_000;

/// The form of what is printed on standard output.
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether programs read it.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints one thing: as JSON, or as `people` tells it.
    pub(super) fn one<T: Serialize>(
        &self,
        thing: &T,
        people: impl FnOnce(&T) -> String,
    ) -> Result<(), CliError> {
        if self.json {
            print_json(thing)
        } else {
            print(people(thing).trim_end())
        }
    }

    /// Prints rows: one JSON object a line, or a table.
    pub(super) fn rows<T: Serialize>(
        &self,
        things: &[T],
        header: Option<&[&str]>,
        row: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), CliError> {
        if self.json {
            return things.iter().try_for_each(print_json);
        }
        let text = table(header, things.iter().map(row));
        if text.is_empty() {
            Ok(())
        } else {
            print(&text)
        }
    }
}

impl Session {
    /// Asks for a list and prints it.
    pub(super) fn list<T>(
        &self,
        part: &ListArguments,
        path: &str,
        filters: &[(&'static str, Option<String>)],
        header: &[&str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), CliError>
    where
        T: Serialize + DeserializeOwned,
    {
        let limit = if part.all {
            Some(ALL_PAGE_ROWS)
        } else {
            part.limit
        };
        let mut cursor = part.cursor.clone();
        let mut header = Some(header);
        loop {
            let mut call = self
                .client
                .get(path)
                .with("limit", limit)
                .with("cursor", cursor);
            for (name, value) in filters {
                call = call.with(name, value.as_deref());
            }
            let page: Listed<T> = call.send()?;
            self.output.rows(&page.items, header.take(), &row)?;
            match page.next_cursor {
                Some(next) if part.all => cursor = Some(next),
                Some(next) => {
                    eprintln!("more: --cursor {next}, or --all");
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }
}

/// Columns side by side, without lines; nothing for no rows and no header.
pub(super) fn table(
    header: Option<&[&str]>,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if let Some(header) = header {
        table.set_header(header.to_vec());
    }
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        // Flush left, two spaces between columns.
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A thing's fields, one a line.
pub(super) fn fields(pairs: &[(&str, String)]) -> String {
    let rows = pairs
        .iter()
        .map(|(name, value)| vec![(*name).to_owned(), value.clone()]);
    table(None, rows)
}

/// What is not there, in a table.
pub(super) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(|error| CliError::Output(error.into()))?;
    print(&text)
}

pub(super) fn print(text: &str) -> Result<(), CliError> {
    writeln!(io::stdout().lock(), "{text}").map_err(CliError::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_flush_without_trailing_space() {
        let rows = [
            vec!["acme".to_owned(), "x".to_owned()],
            vec!["b".to_owned(), "yy".to_owned()],
        ];
        let text = table(Some(&["TENANT", "ID"]), rows);
        assert_eq!(text, "TENANT  ID\nacme    x\nb       yy");
    }
}
