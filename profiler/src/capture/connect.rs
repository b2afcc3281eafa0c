//! Opens files that others have written, and that may have ended in the middle of a slice.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

use super::format;

/// Opens a recording to be read.
///
/// Where a recorder died while it wrote a slice, what was there before lies beside the file, and SQLite puts it
/// back when the file is next written to. A reader does not write to it, and may not be allowed to: it
/// puts things right in a copy.
///
/// # Errors
/// In one line, what is wrong with it.
pub fn connect(path: &Path) -> Result<Connection> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let connection = if is_half_written(&connection) { put_right(path)? } else { connection };
    format::check(&connection)?;
    Ok(connection)
}

fn open(path: &Path, mode: OpenFlags) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // It may be written to at the same time.
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

/// The first to read the file learns of it. (Other errors come again.)
fn is_half_written(connection: &Connection) -> bool {
    let read = connection.pragma_query_value(None, "schema_version", |row| row.get::<_, i64>(0));
    matches!(read, Err(rusqlite::Error::SqliteFailure(error, _))
        if error.extended_code == ffi::SQLITE_READONLY_ROLLBACK)
}

fn put_right(path: &Path) -> Result<Connection> {
    let half = "its recorder died while writing a slice";
    let folder = tempfile::tempdir().with_context(|| format!("{half}, and there is no copy"))?;
    let copy = folder.path().join("copy.dwell");
    for (from, to) in [(path.to_owned(), copy.clone()), (journal(path), journal(&copy))] {
        std::fs::copy(&from, to)
            .with_context(|| format!("{half}, and {} cannot be copied", from.display()))?;
    }
    let connection = open(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Puts back what was there. The copy then needs no name any more.
    connection.pragma_query_value(None, "schema_version", |_| Ok(()))?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Where SQLite keeps what a transaction changes: <https://sqlite.org/tempfiles.html#rollback_journals>.
pub fn journal(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push("-journal");
    PathBuf::from(name)
}
