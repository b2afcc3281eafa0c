//! The format of pprof (github.com/google/pprof, proto/profile.proto), compressed.

use std::collections::HashMap;
use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::{TRUNCATED, Waits, cause, threads, waits};
use crate::analyze::TopWait;
use crate::model::{Frame, Profile as Measured, state_name};

/// Samples are waits: how many, and how long.
///
/// # Errors
/// When memory for it cannot be had.
pub fn pprof(profile: &Measured, which: Waits) -> io::Result<Vec<u8>> {
    let mut builder = Builder::default();
    let rows = waits(profile, which);
    let samples = rows.iter().map(|wait| builder.sample(wait)).collect();
    let waits = builder.value_type("waits", "count");
    let time = builder.value_type("wait", "nanoseconds");
    let message = Profile {
        sample_type: vec![waits, time],
        sample: samples,
        location: builder.locations,
        function: builder.functions,
        duration_nanos: profile.window.duration().0.cast_signed(),
        period_type: None,
        default_sample_type: builder.strings.number("wait"),
        string_table: builder.strings.all,
    };
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&message.encode_to_vec())?;
    encoder.finish()
}

/// Strings by number; 0 is the empty one.
struct Strings {
    all: Vec<String>,
    numbers: HashMap<String, i64>,
}

impl Default for Strings {
    fn default() -> Self {
        Self { all: vec![String::new()], numbers: HashMap::from([(String::new(), 0)]) }
    }
}

impl Strings {
    fn number(&mut self, text: &str) -> i64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.all.len() as i64;
        self.all.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

#[derive(Default)]
struct Builder {
    strings: Strings,
    functions: Vec<Function>,
    function_numbers: HashMap<String, u64>,
    locations: Vec<Location>,
    /// By the functions of the place, innermost first, and its address.
    location_numbers: HashMap<(Vec<u64>, u64), u64>,
}

impl Builder {
    fn value_type(&mut self, name: &str, unit: &str) -> ValueType {
        ValueType { r#type: self.strings.number(name), unit: self.strings.number(unit) }
    }

    /// What was waited for is the innermost place, so that it shows in every view of pprof.
    fn sample(&mut self, wait: &TopWait) -> Sample {
        let mut places = vec![self.place(&[&cause(wait)], 0)];
        let mut rest: &[Frame] = &wait.stack;
        while !rest.is_empty() {
            let inlined = rest.iter().take_while(|frame| frame.inlined).count();
            let (here, outside) = rest.split_at((inlined + 1).min(rest.len()));
            let names: Vec<&str> = here.iter().map(|frame| frame.name.as_str()).collect();
            places.push(self.place(&names, here[0].address));
            rest = outside;
        }
        if wait.is_truncated {
            places.push(self.place(&[TRUNCATED], 0));
        }
        let labels = self.labels(wait);
        let value = vec![wait.count.cast_signed(), wait.total.0.cast_signed()];
        Sample { location_id: places, value, label: labels }
    }

    fn place(&mut self, names: &[&str], address: u64) -> u64 {
        let functions: Vec<u64> = names.iter().map(|name| self.function(name)).collect();
        let next = self.locations.len() as u64 + 1;
        let number = *self.location_numbers.entry((functions.clone(), address)).or_insert(next);
        if number == next {
            let line = functions.into_iter().map(|function_id| Line { function_id }).collect();
            self.locations.push(Location { id: next, address, line });
        }
        number
    }

    fn function(&mut self, name: &str) -> u64 {
        if let Some(number) = self.function_numbers.get(name) {
            return *number;
        }
        let id = self.functions.len() as u64 + 1;
        let name_number = self.strings.number(name);
        self.functions.push(Function { id, name: name_number, system_name: name_number });
        self.function_numbers.insert(name.to_owned(), id);
        id
    }

    fn labels(&mut self, wait: &TopWait) -> Vec<Label> {
        let whose = threads(wait);
        let (process, threads) = (&whose[0], whose.last().unwrap_or(&whose[0]));
        let state = if wait.idle.is_some() { "waiting for work" } else { "inside work" };
        let labels = [
            ("process", process.as_str()),
            ("threads", threads),
            ("kind", state_name(wait.kind)),
            ("wait", state),
        ];
        let number = |(key, text): (&str, &str)| Label {
            key: self.strings.number(key),
            str: self.strings.number(text),
        };
        labels.map(number).to_vec()
    }
}

// The messages of profile.proto, with the fields that dwell fills in.

#[derive(Clone, PartialEq, Message)]
pub struct Profile {
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    #[prost(int64, tag = "14")]
    pub default_sample_type: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ValueType {
    #[prost(int64, tag = "1")]
    pub r#type: i64,
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Label {
    #[prost(int64, tag = "1")]
    pub key: i64,
    #[prost(int64, tag = "2")]
    pub str: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Location {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(uint64, tag = "3")]
    pub address: u64,
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Line {
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Function {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(int64, tag = "2")]
    pub name: i64,
    #[prost(int64, tag = "3")]
    pub system_name: i64,
}
