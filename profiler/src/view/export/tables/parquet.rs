//! Tables with types, for DuckDB, pandas, polars and others (github.com/apache/parquet-format).

use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::{Column, Values, rows};
use crate::model::Nanos;

/// Writes a table.
///
/// # Errors
/// When memory for it cannot be had.
pub fn write(columns: &[Column]) -> Result<Vec<u8>> {
    let fields = columns.iter().map(field).collect::<Result<_>>()?;
    let schema = Type::group_type_builder("dwell").with_fields(fields).build()?;
    // What every reader knows; dictionaries are what makes tables of few names small.
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
    if rows(columns) > 0 {
        let mut group = writer.next_row_group()?;
        let mut rest = columns.iter();
        while let (Some(column), Some(mut writer)) = (rest.next(), group.next_column()?) {
            write_column(&mut writer, &column.values)?;
            writer.close()?;
        }
        group.close()?;
    }
    writer.into_inner()
}

/// How a column is stored, and what that means.
fn field(column: &Column) -> Result<TypePtr> {
    let unsigned = LogicalType::integer(64, false);
    let (physical, logical) = match &column.values {
        Values::Text(_) | Values::TextOrNone(_) => {
            (Physical::BYTE_ARRAY, Some(LogicalType::String))
        }
        Values::Count(_) => (Physical::INT64, Some(unsigned)),
        // The format has no type for durations.
        Values::Time(_) => (Physical::INT64, None),
        Values::Mean(_) => (Physical::DOUBLE, None),
        Values::Flag(_) => (Physical::BOOLEAN, None),
    };
    let repetition = match &column.values {
        Values::TextOrNone(_) => Repetition::OPTIONAL,
        _ => Repetition::REQUIRED,
    };
    let field = Type::primitive_type_builder(&column.name, physical)
        .with_logical_type(logical)
        .with_repetition(repetition);
    Ok(Arc::new(field.build()?))
}

fn write_column(writer: &mut SerializedColumnWriter<'_>, values: &Values) -> Result<()> {
    match values {
        Values::Text(values) => {
            let values: Vec<ByteArray> = values.iter().map(|text| text.as_str().into()).collect();
            put::<ByteArrayType>(writer, &values, None)
        }
        Values::TextOrNone(values) => {
            let is_there: Vec<i16> = values.iter().map(|text| text.is_some().into()).collect();
            let values: Vec<ByteArray> =
                values.iter().flatten().map(|text| text.as_str().into()).collect();
            put::<ByteArrayType>(writer, &values, Some(&is_there))
        }
        Values::Count(values) => {
            let values: Vec<i64> = values.iter().map(|count| count.cast_signed()).collect();
            put::<Int64Type>(writer, &values, None)
        }
        Values::Time(values) => {
            let values: Vec<i64> = values.iter().map(signed).collect();
            put::<Int64Type>(writer, &values, None)
        }
        Values::Mean(values) => put::<DoubleType>(writer, values, None),
        Values::Flag(values) => put::<BoolType>(writer, values, None),
    }
}

/// Signed, so that a difference of two may be negative. What is longer than 292 years is no time that was
/// measured.
fn signed(time: &Nanos) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// Values, and which rows have one where not all do.
fn put<T: DataType>(
    writer: &mut SerializedColumnWriter<'_>,
    values: &[T::T],
    is_there: Option<&[i16]>,
) -> Result<()> {
    writer.typed::<T>().write_batch(values, is_there, None)?;
    Ok(())
}
