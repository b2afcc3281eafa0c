//! The tables of the file.

use anyhow::{Context as _, Result, bail, ensure};
use rusqlite::Connection;

/// Marks the file as one of dwell: "dwel".
const APPLICATION: i32 = 0x6477_656c;

/// The version of the format: raised with each change that an older dwell could not read. 2 has files of
/// code, by which functions are named later.
const VERSION: i32 = 2;

/// The oldest version that is read.
const OLDEST: i32 = 1;

/// As they are in `sqlite_schema`.
const TABLES: [&str; 3] = [
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    "CREATE TABLE slice (id INTEGER PRIMARY KEY, end_ns INTEGER NOT NULL, \
     unix_ns INTEGER NOT NULL, figures BLOB NOT NULL) STRICT",
    "CREATE TABLE thing (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, parent INTEGER, \
     body TEXT NOT NULL) STRICT",
];

/// Makes an empty file a recording.
///
/// # Errors
/// When it cannot be written.
pub fn create(connection: &Connection) -> rusqlite::Result<()> {
    // One file as soon as a slice is written, and whole whenever power is lost.
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    TABLES.into_iter().try_for_each(|table| connection.execute_batch(table))
}

/// Refuses what is no recording, or one that this version cannot read.
///
/// # Errors
/// One that says what it is.
pub fn check(connection: &Connection) -> Result<()> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let application = number("application_id").context("it cannot be read")?;
    ensure!(application == APPLICATION, "it is no recording of dwell");
    let version = number("user_version").context("it cannot be read")?;
    if version > VERSION {
        bail!(
            "it was written by a newer dwell (format {version}; this one reads {VERSION}): \
             update dwell"
        );
    }
    ensure!(version >= OLDEST, "its format is {version}, which this dwell does not read");
    // A file could have views or triggers in their place, which run as they are read.
    let mut tables = connection
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
        .context("it is damaged")?;
    let tables = tables.query_map((), |row| row.get::<_, String>(0)).context("it is damaged")?;
    let tables = tables.collect::<Result<Vec<_>, _>>().context("it is damaged")?;
    ensure!(tables == TABLES, "its tables are not those of a recording");
    Ok(())
}
