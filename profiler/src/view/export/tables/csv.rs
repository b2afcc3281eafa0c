//! Tables as text (RFC 4180).

use std::borrow::Cow;
use std::io;

use super::{Column, Values, rows};

/// Writes a table, its names first.
///
/// # Errors
/// When memory for it cannot be had.
pub fn write(columns: &[Column]) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns.iter().map(|column| &column.name))?;
    for row in 0..rows(columns) {
        for column in columns {
            writer.write_field(text(&column.values, row).as_bytes())?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.into_inner().map_err(|error| error.into_error())
}

/// A value; nothing where there is none.
fn text(values: &Values, row: usize) -> Cow<'_, str> {
    match values {
        Values::Text(values) => Cow::Borrowed(&values[row]),
        Values::TextOrNone(values) => Cow::Borrowed(values[row].as_deref().unwrap_or_default()),
        Values::Count(values) => Cow::Owned(values[row].to_string()),
        Values::Time(values) => Cow::Owned(values[row].0.to_string()),
        Values::Mean(values) => Cow::Owned(format!("{:.3}", values[row])),
        Values::Flag(values) => Cow::Owned(values[row].to_string()),
    }
}
