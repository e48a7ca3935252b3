//! The database file: how a connection is opened, and which schema it must have.

use super::StoreError;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{Error, M, MigrationDefinitionError, Migrations};
use std::path::Path;
use std::time::Duration;

/// Each stands once and is never edited after its release: a change is a new one.
const STEPS: &[M<'_>] = &[
    M::up(include_str!("migrations/0001_first.sql")),
    M::up(include_str!("migrations/0002_limits.sql")),
    M::up(include_str!("migrations/0003_usage.sql")),
    M::up(include_str!("migrations/0004_alerts.sql")),
    M::up(include_str!("migrations/0005_token_roles.sql")),
];
const MIGRATIONS: Migrations<'_> = Migrations::from_slice(STEPS);

/// Prepared statements that a connection keeps.
const STATEMENTS_KEPT: usize = 128;
/// How long a connection waits for another program (a backup, the `sqlite3` shell).
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the writing connection: creates the file, brings it to the newest schema.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // With NORMAL a power cut could take back a revocation that was acknowledged.
    connection.pragma_update(None, "synchronous", "FULL")?;
    migrate(&mut connection)?;
    super::usage::register(&connection)?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(connection)
}

/// Opens a reading connection to a file that [`open_writer`] made.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", "ON")?;
    super::usage::register(&connection)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    match MIGRATIONS.to_latest(connection) {
        Ok(()) => Ok(()),
        Err(Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead)) => {
            Err(StoreError::TooNew)
        }
        Err(Error::RusqliteError { err, .. }) => Err(StoreError::Database(err)),
        Err(other) => Err(StoreError::Corrupt(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_runs_on_an_empty_database() {
        MIGRATIONS.validate().expect("each step is sound");
    }
}
