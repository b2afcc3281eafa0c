//! The same table in each format.

use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::record::Field;
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::analyze::fixture;

/// What a reader of CSV gets: names, and rows of text.
fn read_csv(columns: &[Column]) -> (Vec<String>, Vec<Vec<String>>) {
    let bytes = csv::write(columns).expect("a table");
    let mut reader = ::csv::Reader::from_reader(bytes.as_slice());
    let names = reader.headers().expect("names").iter().map(str::to_owned).collect();
    let row = |row: ::csv::Result<::csv::StringRecord>| {
        row.expect("a row").iter().map(str::to_owned).collect()
    };
    (names, reader.records().map(row).collect())
}

/// What a reader of Parquet gets.
fn read_parquet(columns: &[Column]) -> Vec<Vec<(String, Field)>> {
    let bytes = Bytes::from(parquet::write(columns).expect("a table"));
    let reader = SerializedFileReader::new(bytes).expect("a file");
    let rows = reader.get_row_iter(None).expect("rows");
    rows.map(|row| row.expect("a row").into_columns()).collect()
}

/// Whether a value of Parquet is of the type of its column, and says what CSV says.
fn is_same(values: &Values, field: &Field, text: &str) -> bool {
    match (values, field) {
        (Values::Text(_) | Values::TextOrNone(_), Field::Str(value)) => value == text,
        (Values::TextOrNone(_), Field::Null) => text.is_empty(),
        (Values::Count(_), Field::ULong(value)) => value.to_string() == text,
        (Values::Time(_), Field::Long(value)) => {
            text.parse::<u64>().map(|time| i64::try_from(time).unwrap_or(i64::MAX)) == Ok(*value)
        }
        (Values::Mean(_), Field::Double(value)) => format!("{value:.3}") == text,
        (Values::Flag(_), Field::Bool(value)) => value.to_string() == text,
        _ => false,
    }
}

fn check(columns: &[Column]) {
    let (names, texts) = read_csv(columns);
    assert!(columns.iter().map(|column| &column.name).eq(&names));
    let fields = read_parquet(columns);
    assert_eq!((fields.len(), texts.len()), (rows(columns), rows(columns)));
    for (fields, texts) in fields.iter().zip(&texts) {
        assert_eq!((fields.len(), texts.len()), (columns.len(), columns.len()));
        for (column, ((name, field), text)) in columns.iter().zip(fields.iter().zip(texts)) {
            assert_eq!(*name, column.name);
            assert!(is_same(&column.values, field, text), "{name}: {field:?}, {text:?}");
        }
    }
}

#[test]
fn tables_of_profiles_say_the_same_in_both_formats() {
    let shop = fixture::requests::lock();
    let nasty = [fixture::nasty(100), fixture::requests::nasty(shop.clone(), "a\"b,c\r\n;\u{1b}")];
    let usual = [fixture::demo(), fixture::chain(), fixture::postgres(), fixture::empty(), shop];
    for profile in nasty.iter().chain(&usual) {
        for table in [Table::Threads, Table::Waits, Table::Locks, Table::Requests] {
            check(&columns::of(profile, table));
        }
    }
}

/// The schema alone, where there is no row.
#[test]
fn an_empty_table_has_its_columns() {
    let bytes = parquet(&fixture::empty(), Table::Requests).expect("a table");
    let reader = SerializedFileReader::new(Bytes::from(bytes)).expect("a file");
    let metadata = reader.metadata();
    assert_eq!((metadata.num_row_groups(), metadata.file_metadata().num_rows()), (0, 0));
    let schema = metadata.file_metadata().schema_descr();
    let names: Vec<&str> = schema.columns().iter().map(|column| column.name()).collect();
    assert!(names.len() == 16 && names.contains(&"p999_ns"), "{names:?}");
}

/// A table of every type with so many rows.
fn any_columns() -> impl Strategy<Value = Vec<Column>> {
    (0_usize..40).prop_flat_map(|rows| {
        let text = || prop::collection::vec(any::<String>(), rows);
        let of = |name: &str, values: BoxedStrategy<Values>| {
            let name = name.to_owned();
            values.prop_map(move |values| Column { name: name.clone(), values }).boxed()
        };
        let maybe = prop::collection::vec(prop::option::of(any::<String>()), rows);
        let number = || prop::collection::vec(any::<u64>(), rows);
        let time = number().prop_map(|times| times.into_iter().map(Nanos).collect());
        let mean = prop::collection::vec(any::<f64>(), rows);
        let flag = prop::collection::vec(any::<bool>(), rows);
        vec![
            of("text", text().prop_map(Values::Text).boxed()),
            of("behind", maybe.prop_map(Values::TextOrNone).boxed()),
            of("count", number().prop_map(Values::Count).boxed()),
            of("total_ns", time.prop_map(Values::Time).boxed()),
            of("mean", mean.prop_map(Values::Mean).boxed()),
            of("flag", flag.prop_map(Values::Flag).boxed()),
            of("a \"name\", quoted", text().prop_map(Values::Text).boxed()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_table_says_the_same_in_both_formats(columns in any_columns()) {
        check(&columns);
    }
}
