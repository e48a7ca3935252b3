//! Small helpers of the modules that speak SQL: narrowing, pages, JSON columns.

use super::{PAGE_ROWS_MAX, Page, Paged, StoreError};
use rusqlite::types::{ToSql, Value};
use rusqlite::{Connection, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::str::FromStr;

/// Conditions joined by AND, with their values.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    clauses: Vec<&'static str>,
    values: Vec<Value>,
}

impl Conditions {
    /// Adds `clause`, whose one `?` stands for `value`, if there is a value.
    pub(super) fn add_if<V: Into<Value>>(&mut self, clause: &'static str, value: Option<V>) {
        if let Some(value) = value {
            self.clauses.push(clause);
            self.values.push(value.into());
        }
    }

    /// Adds `clause`, which holds no `?`.
    pub(super) fn add(&mut self, clause: &'static str) {
        self.clauses.push(clause);
    }
}

/// In which order a list is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    OldestFirst,
    NewestFirst,
}

/// Reads one page of `select`, ordered by `number`, a column that `cursor_of` reads back.
pub(super) fn paged<T>(
    connection: &Connection,
    select: &str,
    number: &'static str,
    order: Order,
    mut conditions: Conditions,
    page: Page,
    mut item: impl FnMut(&Row<'_>) -> Result<(u64, T), StoreError>,
) -> Result<Paged<T>, StoreError> {
    let rows_max = page.rows.clamp(1, PAGE_ROWS_MAX);
    let after = page
        .after
        .map(|after| i64::try_from(after).unwrap_or(i64::MAX));
    let (beyond, direction) = match order {
        Order::OldestFirst => (format!("{number} > ?"), "ASC"),
        Order::NewestFirst => (format!("{number} < ?"), "DESC"),
    };
    let mut clauses: Vec<&str> = std::mem::take(&mut conditions.clauses);
    if let Some(after) = after {
        clauses.push(&beyond);
        conditions.values.push(after.into());
    }
    let filter = match clauses.is_empty() {
        true => String::new(),
        false => format!("WHERE {}", clauses.join(" AND ")),
    };
    // One row more than asked for tells whether there is a next page.
    let wanted = u64::from(rows_max) + 1;
    let sql = format!("{select} {filter} ORDER BY {number} {direction} LIMIT {wanted}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(conditions.values.iter()))?;
    let mut items = Vec::new();
    let mut last = None;
    while let Some(row) = rows.next()? {
        if items.len() == usize::try_from(rows_max).unwrap_or(usize::MAX) {
            return Ok(Paged { items, next: last });
        }
        let (cursor, value) = item(row)?;
        items.push(value);
        last = Some(cursor);
    }
    Ok(Paged { items, next: None })
}

/// Reads the one row that `sql` finds, if there is one.
pub(super) fn one<T>(
    connection: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    mut item: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    rows.next()?.map(&mut item).transpose()
}

/// Reads the one number that `sql` finds.
pub(super) fn number(
    connection: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
) -> Result<u64, StoreError> {
    Ok(one(connection, sql, values, |row| Ok(row.get(0)?))?.unwrap_or(0))
}

/// Reads all rows that `sql` finds.
pub(super) fn all<T>(
    connection: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    mut item: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(item(row)?);
    }
    Ok(items)
}

/// Runs a changing statement; answers how many rows it changed.
pub(super) fn run(
    connection: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
) -> Result<usize, StoreError> {
    Ok(connection.prepare_cached(sql)?.execute(values)?)
}

/// Reads a text column as a word or a name.
pub(super) fn word<T: FromStr>(row: &Row<'_>, column: &str) -> Result<T, StoreError> {
    let text = row.get_ref(column)?.as_str().map_err(|_| corrupt(column))?;
    text.parse().map_err(|_| corrupt(column))
}

/// Reads a JSON column.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T, StoreError> {
    let text = row.get_ref(column)?.as_str().map_err(|_| corrupt(column))?;
    serde_json::from_str(text).map_err(|_| corrupt(column))
}

/// Writes a JSON column.
pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn corrupt(column: &str) -> StoreError {
    // The value stays out of the text: it may be anything.
    StoreError::Corrupt(format!("column `{column}`"))
}

/// The number of the row just inserted.
pub(super) fn new_number(
    connection: &Connection,
    subject: crate::domain::Subject,
) -> Result<u32, StoreError> {
    u32::try_from(connection.last_insert_rowid()).map_err(|_| StoreError::NumbersSpent(subject))
}
