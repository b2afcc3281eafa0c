//! Tables for spreadsheets, databases and data frames. Times are nanoseconds, and columns are named as the fields
//! of the document (docs/json.md).

mod columns;
mod csv;
mod parquet;
#[cfg(test)]
mod tests;

use std::io;

use crate::model::{Nanos, Profile};

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// A row for each thread.
    Threads,
    /// A row for each process, kind, object and stack.
    Waits,
    /// A row for each lock.
    Locks,
    /// A row for each service and label.
    Requests,
}

/// A table with its names in the first line (RFC 4180).
///
/// # Errors
/// When memory for it cannot be had.
pub fn csv(profile: &Profile, table: Table) -> io::Result<Vec<u8>> {
    csv::write(&columns::of(profile, table))
}

/// A table whose columns have types (Apache Parquet).
///
/// # Errors
/// When memory for it cannot be had.
pub fn parquet(profile: &Profile, table: Table) -> io::Result<Vec<u8>> {
    parquet::write(&columns::of(profile, table)).map_err(io::Error::other)
}

/// A column: what it is called, and a value for each row.
#[derive(Clone, Debug)]
struct Column {
    name: String,
    values: Values,
}

/// The values of a column, all of one type.
#[derive(Clone, Debug)]
enum Values {
    /// Text.
    Text(Vec<String>),
    /// Text that not every row has.
    TextOrNone(Vec<Option<String>>),
    /// Counts, and numbers of processes and threads.
    Count(Vec<u64>),
    /// Times.
    Time(Vec<Nanos>),
    /// Means and rates.
    Mean(Vec<f64>),
    /// Yes or no.
    Flag(Vec<bool>),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::TextOrNone(values) => values.len(),
            Self::Count(values) => values.len(),
            Self::Time(values) => values.len(),
            Self::Mean(values) => values.len(),
            Self::Flag(values) => values.len(),
        }
    }
}

/// How many rows there are: each column has a value for each.
fn rows(columns: &[Column]) -> usize {
    columns.first().map_or(0, |column| column.values.len())
}
